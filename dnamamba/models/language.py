"""A causal or masked language model: a backbone, read for the probabilities of bases."""

from typing import NamedTuple

from torch import Tensor, nn

from dnamamba.models.base import ModelConfig, State, build_backbone, need


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

    def forward(
        self, tokens: Tensor, state: State | None = None, *, cu_seqlens: Tensor | None = None
    ) -> LanguageModelOutput:
        """Return logits [B, L, V] for tokens [B, L], after `state` if one is given.

        Of a recurrent family, two calls with the state carried equal one call on the whole sequence.

        Args:
            tokens: [B, L].
            state: from an earlier call; None: before the first token.
            cu_seqlens: int32 [n + 1], cumulative lengths: tokens [1, L] are n sequences one behind the other,
                and each is read as if it were alone.

        Raises:
            UserError: `cu_seqlens` of a family that is not packable.
            ValueError: they are not the cumulative lengths of `tokens`, or come with a state.
        """
        packed = {}
        if cu_seqlens is not None:
            need(self.backbone, ("packable",), "cu_seqlens")
            packed["cu_seqlens"] = cu_seqlens
        hidden, state = self.backbone(tokens, state, **packed)
        return LanguageModelOutput(self.backbone.unembed(hidden), state)

    def after(self, tokens: Tensor, state: State | None = None) -> State:
        """Return the state after tokens [B, L] alone, see `Backbone.after`."""
        return self.backbone.after(tokens, state)

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D]."""
        return self.backbone.unembed(hidden)
