"""Models of byte sequences: families of backbones (base.py has their contract), and models that use them."""

from dnamamba.models.base import Backbone, BackboneOutput, ModelConfig, State, StepCost
from dnamamba.models.language import LanguageModel, LanguageModelOutput
from dnamamba.models.mamba.backbone import MambaBackbone
from dnamamba.models.mamba.config import MambaConfig
from dnamamba.models.mamba.mixer import MambaMixer
from dnamamba.models.mamba.recurrence import MambaRecurrence
from dnamamba.models.mamba.state import MixerState, initial_state
from dnamamba.models.positions import PositionConfig, PositionModel
from dnamamba.models.sequence import DecoderConfig, SequenceModel

__all__ = [
    "Backbone",
    "BackboneOutput",
    "DecoderConfig",
    "LanguageModel",
    "LanguageModelOutput",
    "MambaBackbone",
    "MambaConfig",
    "MambaMixer",
    "MambaRecurrence",
    "MixerState",
    "ModelConfig",
    "PositionConfig",
    "PositionModel",
    "SequenceModel",
    "State",
    "StepCost",
    "initial_state",
]
