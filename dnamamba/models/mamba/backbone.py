"""Embedding, pre-norm residual blocks, final norm."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dnamamba.kernels import resolve
from dnamamba.kernels.mamba_block import is_fused, mamba_block, mamba_block_after
from dnamamba.kernels.packing import refuse_before, starts_of
from dnamamba.kernels.precision import dtype_of_products
from dnamamba.kernels.ranks import Ranks
from dnamamba.models.base import Backbone, BackboneOutput
from dnamamba.models.mamba.config import MambaConfig
from dnamamba.models.mamba.mixer import MambaMixer
from dnamamba.models.mamba.state import MixerState, State


class MambaBlock(nn.Module):
    """x + mixer(norm(x)), the residual stream in float32."""

    def __init__(self, config: MambaConfig, backend: str) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.mixer = MambaMixer(config, backend)

    def forward(
        self,
        x: Tensor,
        state: MixerState | None = None,
        ranks: Ranks | None = None,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, MixerState]:
        if self._is_fused(x, ranks):
            # One operator: faster, and on a GPU it keeps less for the backward.
            y, conv, ssm = mamba_block(**self._inputs(x, state, ranks), starts=starts)
            return y, MixerState(conv, ssm)
        mixed, state = self.mixer(self.norm(x), state, ranks, starts)
        return x + mixed, state

    def after(self, x: Tensor, state: MixerState | None = None, ranks: Ranks | None = None) -> MixerState:
        """Return the state after [B, L, D] alone; a fused block makes no gradients.

        Args:
            x: [B, L, D].
            state: before x; None: zeros.
            ranks: that hold the sequence.
        """
        if self._is_fused(x, ranks):
            return MixerState(*mamba_block_after(**self._inputs(x, state, ranks)))
        return self.mixer.after(self.norm(x), state, ranks)

    def _is_fused(self, x: Tensor, ranks: Ranks | None) -> bool:
        config = self.mixer.config
        return not self.mixer.wrapped and is_fused(
            resolve(self.mixer.backend, x.device, x.dtype),
            (config.d_model, config.d_inner, config.d_state),
            (x.dtype, dtype_of_products(x), *(weight.dtype for weight in self.parameters())),
            ranks,
        )

    def _inputs(self, x: Tensor, state: MixerState | None, ranks: Ranks | None) -> dict[str, Any]:
        backend = resolve(self.mixer.backend, x.device, x.dtype)
        return {
            "x": x,
            "weights": self.mixer.block_weights(self.norm.weight, backend),
            "eps": self.norm.eps or torch.finfo(x.dtype).eps,
            "dtype": dtype_of_products(x),
            "conv_state": None if state is None else state.conv,
            "ssm_state": None if state is None else state.ssm,
            "ranks": ranks,
            "backend": backend,
        }


class MambaBackbone(Backbone):
    """A stack of Mamba blocks over byte tokens.

    Args:
        config: the model's shape.
        backend: scan and convolution backend, see `dnamamba.kernels`.

    Attributes:
        activation_checkpointing: recompute each block in the backward pass instead of keeping what is
            inside it. Parameter names do not change.
    """

    causal = recurrent = divisible = capturable = packable = True
    adapters = ("in_proj", "x_proj", "dt_proj", "out_proj")
    undecayed = ("A_log", "D")

    config: MambaConfig
    embedding: nn.Embedding

    def __init__(self, config: MambaConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(MambaBlock(config, backend) for _ in range(config.n_layer))
        self.norm_f = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.head = None if config.tied else nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=0.02)

    def forward(
        self,
        tokens: Tensor,
        state: State | None = None,
        *,
        blocks: int | None = None,
        cu_seqlens: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> BackboneOutput:
        """Read tokens, [B, L] of any integer dtype (uint8 as stored), after `state` if one is given.

        With `blocks`, stop after that many of them: the residual stream there, and the final norm only after
        the last. See `Backbone.forward`.
        """
        if cu_seqlens is not None:
            starts = starts_of(cu_seqlens, tokens)
        refuse_before(starts, state=state, ranks=self.ranks)
        x = self.embedding(tokens.int())
        states = []
        recompute = self.activation_checkpointing and torch.is_grad_enabled()
        for i, layer in enumerate(islice(self.layers, blocks)):
            before = None if state is None else state[i]
            if recompute:
                x, after = checkpoint(layer, x, before, self.ranks, starts, use_reentrant=False)
            else:
                x, after = layer(x, before, self.ranks, starts)
            states.append(after)
        hidden = self.norm_f(x) if len(states) == len(self.layers) else x
        return BackboneOutput(hidden, tuple(states))

    @torch.no_grad()
    def after(self, tokens: Tensor, state: State | None = None) -> State:
        """See `Backbone.after`; of the last block, only what makes its state is computed."""
        x = self.embedding(tokens.int())
        states = []
        blocks = cast(list[MambaBlock], list(self.layers))
        before = list(state or [None] * len(blocks))
        for layer, start in zip(blocks[:-1], before, strict=False):
            x, behind = layer(x, start, self.ranks)
            states.append(behind)
        return (*states, blocks[-1].after(x, before[-1], self.ranks))

    def packs_on(self, device: torch.device) -> bool:
        """See `Backbone.packs_on`; the other backends sweep one long row twice, but many rows once."""
        mixer = cast(MambaBlock, self.layers[0]).mixer
        return resolve(mixer.backend, device, self.dtype) in ("triton", "numba")

    def unembed(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D], by the tied embedding or the own head."""
        return F.linear(hidden, self.embedding.weight if self.head is None else self.head.weight)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the `MambaBlock`s, first to last."""
        return list(self.layers)

    def take(self, state: State, rows: Tensor) -> State:
        """Return the state of these rows, int64 [rows], each as often as it is named."""
        return tuple(MixerState(layer.conv[rows], layer.ssm[rows]) for layer in state)

    def detach(self, state: State) -> State:
        """Return the same values, cut off from the graph: truncated backpropagation through time."""
        return tuple(MixerState(layer.conv.detach(), layer.ssm.detach()) for layer in state)

    def recurrence(self, rows: int, dtype: torch.dtype) -> Any:
        """See `dnamamba.models.mamba.recurrence`."""
        from dnamamba.models.mamba.recurrence import MambaRecurrence  # which needs this file

        return MambaRecurrence(self, rows, dtype)
