"""A causal or masked language model: a backbone, read for the probabilities of bases."""

from typing import NamedTuple

from torch import Tensor, nn

from dnamamba.models.base import ModelConfig, State, build_backbone


class LanguageModelOutput(NamedTuple):
    """Predictions.

    Attributes:
        logits: [B, L, V]; of a causal family position i predicts token i + 1, of a masked one token i.
        state: the recurrent state after the last position; None of a family without one.
    """

    logits: Tensor
    state: State


class LanguageModel(nn.Module):
    """A backbone and the logits that it makes of its hidden states.

    Args:
        config: the model's family and shape.
        backend: scan and convolution backend, see `dnamamba.kernels`.

    Attributes:
        mapped: of a model loaded from another package's files, their tensors' names and ours; else empty.
    """

    mapped: dict[str, str]

    def __init__(self, config: ModelConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.mapped = {}
        self.backbone = build_backbone(config, backend)

    def forward(self, tokens: Tensor, state: State | None = None) -> LanguageModelOutput:
        """Return logits [B, L, V] for tokens [B, L], after `state` if one is given.

        Of a recurrent family, two calls with the state carried equal one call on the whole sequence.
        """
        hidden, state = self.backbone(tokens, state)
        return LanguageModelOutput(self.backbone.unembed(hidden), state)

    def after(self, tokens: Tensor, state: State | None = None) -> State:
        """Return the state after tokens [B, L] alone, see `Backbone.after`."""
        return self.backbone.after(tokens, state)

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D]."""
        return self.backbone.unembed(hidden)
