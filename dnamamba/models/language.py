"""What is put on a backbone to answer a question."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.models.mamba.backbone import MambaBackbone
from dnamamba.models.mamba.config import MambaConfig
from dnamamba.models.mamba.state import State


class LanguageModelOutput(NamedTuple):
    """Predictions of the next base.

    Attributes:
        logits: [B, L, V]; position i predicts token i + 1.
        state: the recurrent state after the last position.
    """

    logits: Tensor
    state: State


class LanguageModel(nn.Module):
    """A causal language model of DNA; the head is tied to the embedding.

    Args:
        config: the model's shape.
        backend: scan and convolution backend, see `dnamamba.kernels`.
    """

    def __init__(self, config: MambaConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.backbone = MambaBackbone(config, backend)

    def forward(self, tokens: Tensor, state: State | None = None) -> LanguageModelOutput:
        """Logits [B, L, V] for tokens [B, L], after `state` if one is given.

        Two calls with the state carried equal one call on the whole sequence.
        """
        hidden, state = self.backbone(tokens, state)
        return LanguageModelOutput(self.head(hidden), state)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of final hidden states [..., D]: a product with the embedding."""
        return F.linear(hidden, self.backbone.embedding.weight)
