"""Mamba models of byte sequences: configuration, mixer, backbone, heads and recurrent state."""

from dnamamba.models.language import LanguageModel, LanguageModelOutput
from dnamamba.models.mamba.backbone import BackboneOutput, MambaBackbone
from dnamamba.models.mamba.config import MambaConfig
from dnamamba.models.mamba.mixer import MambaMixer
from dnamamba.models.mamba.recurrence import Recurrence
from dnamamba.models.mamba.state import MixerState, State, detach, initial_state
from dnamamba.models.sequence import DecoderConfig, SequenceModel

__all__ = [
    "BackboneOutput",
    "DecoderConfig",
    "LanguageModel",
    "LanguageModelOutput",
    "MambaBackbone",
    "MambaConfig",
    "MambaMixer",
    "MixerState",
    "Recurrence",
    "SequenceModel",
    "State",
    "detach",
    "initial_state",
]
