"""Mamba models of byte sequences: configuration, mixer, backbone, heads and recurrent state."""

from .backbone import BackboneOutput, MambaBackbone
from .config import MambaConfig
from .heads import LanguageModel, LanguageModelOutput
from .mixer import MambaMixer
from .recurrence import Recurrence
from .sequence import DecoderConfig, SequenceModel
from .state import MixerState, State, detach, initial_state

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
