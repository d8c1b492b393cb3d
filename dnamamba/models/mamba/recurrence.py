"""A language model read a base at a time: constant memory, and shapes and addresses that never change."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.backend import resolve
from dnamamba.kernels.causal_conv1d.step import causal_conv1d_step
from dnamamba.kernels.mamba_block import BlockWeights
from dnamamba.kernels.precision import without_autocast
from dnamamba.kernels.selective_scan.step import selective_scan_step
from dnamamba.models.mamba.backbone import MambaBackbone, MambaBlock
from dnamamba.models.mamba.state import MixerState, State, initial_state

FEW = 16  # sequences up to which a block in four kernels is faster than matrix products for all rows at once


class MambaRecurrence:
    """A language model in its recurrent form, for a fixed number of sequences.

    A step updates `state` in place, on any device, and a CUDA graph can capture it. Weights are cast once,
    here; a model that changes afterwards needs a new one.

    Args:
        backbone: evaluated where its parameters lie, without gradients.
        batch_size: sequences B.
        dtype: of matrix products and of what the parts of a block exchange; the residual stream, the
            norms and the head keep that of the parameters, the scan's state is fp32 (fp64 for fp64).

    Attributes:
        state: what the sequences were so far; its tensors stay the same objects.
    """

    def __init__(self, backbone: MambaBackbone, batch_size: int, dtype: torch.dtype) -> None:
        self._embedding = backbone.embedding.weight.detach()
        self._head = self._embedding if backbone.head is None else backbone.head.weight.detach()
        self._norm = backbone.norm_f
        self._blocks = [_weights(cast(MambaBlock, block), dtype) for block in backbone.layers]
        self.state = initial_state(backbone.config, batch_size, device=self._embedding.device, dtype=dtype)

    def load(self, state: State, rows: slice = slice(None)) -> None:
        """Let these rows resume from a state of as many sequences, or of one for all of them."""
        for ours, theirs in zip(self.state, state, strict=True):
            ours.conv[rows] = theirs.conv
            ours.ssm[rows] = theirs.ssm

    @torch.no_grad()
    def head(self, hidden: Tensor) -> Tensor:
        """Return logits [B, V] of final hidden states [B, D], in the dtype of the parameters."""
        with without_autocast(hidden.device):
            return F.linear(hidden.to(self._head.dtype), self._head)

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Read one token of each sequence, [B]; logits [B, V] of the next."""
        with without_autocast(tokens.device):
            x = F.embedding(tokens.int(), self._embedding)
            for (weights, eps, backend), state in zip(self._blocks, self.state, strict=True):
                # The kernels of a whole block hold a power of two of states.
                whole = len(x) <= FEW and state.ssm.shape[-1].bit_count() == 1
                if whole and resolve(backend, x.device, weights.in_proj.dtype) == "triton":
                    from dnamamba.kernels.mamba_block.triton_step import block_step

                    block_step(x, weights, eps, state.conv, state.ssm)
                else:
                    x = x + _mix(F.rms_norm(x, x.shape[-1:], weights.norm, eps), weights, state, backend)
            return self.head(self._norm(x))


def _weights(block: MambaBlock, dtype: torch.dtype) -> tuple[BlockWeights, float, str]:
    weights = block.mixer.block_weights(block.norm.weight)
    products = {"in_proj", "x_proj", "dt_proj", "out_proj"}
    taken = {
        name: w.detach().to(dtype if name in products else w.dtype).contiguous()
        for name, w in weights._asdict().items()
    }
    eps = block.norm.eps
    return (
        BlockWeights(**taken),
        torch.finfo(weights.norm.dtype).eps if eps is None else eps,
        block.mixer.backend,
    )


def _mix(x: Tensor, weights: BlockWeights, state: MixerState, backend: str) -> Tensor:
    """Return the mixer at one position: [B, D] to [B, D]."""
    (_, rank), states = weights.dt_proj.shape, weights.A.shape[1]
    u, z = F.linear(x.to(weights.in_proj.dtype), weights.in_proj).chunk(2, dim=-1)
    u = causal_conv1d_step(state.conv, u, weights.conv_weight, weights.conv_bias, backend=backend)
    low, B, C = F.linear(u, weights.x_proj).split([rank, states, states], dim=-1)
    dt = F.linear(low, weights.dt_proj)
    y = selective_scan_step(state.ssm, u, dt, weights.A, B, C, weights.D, z, weights.dt_bias, backend=backend)
    return F.linear(y, weights.out_proj)
