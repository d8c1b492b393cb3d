"""The whole block by compiled CPU kernels: nothing of it waits for torch's threads.

It computes what the block's parts do and keeps what they keep, but for dt, which is made again.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnamamba.kernels.causal_conv1d.numba_kernels import convolution_backward
from dnamamba.kernels.causal_conv1d.numba_op import BLOCK
from dnamamba.kernels.numba_cpu.layout import rows_of
from dnamamba.kernels.numba_cpu.products import multiply, multiply_transposed, packed
from dnamamba.kernels.numba_cpu.threads import share
from dnamamba.kernels.numba_cpu.vectors import LANES
from dnamamba.kernels.packing import places
from dnamamba.kernels.selective_scan.numba_backward import scan_backward
from dnamamba.kernels.selective_scan.numba_op import CHUNK, SIDE_BY_SIDE

from .api import Block, BlockWeights
from .numba_forward import Weights, block_forward, dt_from_low, flat, scan_inputs, turned
from .numba_norm import norm_backward


@torch.compiler.disable
def mamba_block_numba(
    x: Tensor,
    weights: BlockWeights,
    *,
    eps: float,
    conv_state: Tensor | None,
    ssm_state: Tensor | None,
    starts: Tensor | None = None,
) -> Block:
    """See `mamba_block` and `is_fused`. Once differentiable."""
    return Block(*_NumbaBlock.apply(eps, x, conv_state, ssm_state, starts, *weights))


def _rows(x: Tensor) -> Any:
    """Return [B, L, n] as [B L, n]."""
    return flat(x.detach().numpy())


@torch.no_grad()
def block_after_numba(
    x: Tensor, weights: BlockWeights, *, eps: float, conv_state: Tensor | None, ssm_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See `mamba_block_after`."""
    own = Weights(weights, gated=False)
    _, _, conv, ssm = block_forward(x.contiguous(), own, eps, conv_state, ssm_state, None, y=None, keep=False)
    return conv, ssm


class _ScanGradients(NamedTuple):
    """What the scan's backward writes: a gradient for each input.

    Attributes:
        u, dt: [B, L, E].
        b, c: [groups, B, L, N], to be added up.
        a, d, bias: [B, N, E], [B, E], [B, E], float64, to be added up.
    """

    u: Tensor
    dt: Tensor
    b: Tensor
    c: Tensor
    a: Tensor
    d: Tensor
    bias: Tensor


def _scan_gradients(
    own: Weights,
    conv: Tensor,
    xz: Tensor,
    low: Tensor,
    starts: Tensor | None,
    kept: Tensor,
    dy: Tensor,
    adjoint: Any,
    dz: Tensor,
) -> _ScanGradients:
    """Go back through the scan.

    Args:
        own: the parameters.
        conv, xz, low, kept: see `Between`.
        starts: uint8 [B, L] or None.
        dy: [B, L, E].
        adjoint: [B, N, E], the derivative with respect to the last state; replaced by that of the first.
        dz: [B, L, E], written.
    """
    (batch, length, E), N = conv.shape, own.states
    groups = min(E // LANES, -(-SIDE_BY_SIDE // batch))
    dB, dC = (conv.new_empty(groups, batch, length, N) for _ in range(2))
    dA = conv.new_empty(batch, N, E, dtype=torch.float64)
    dD, d_bias = (dA.new_empty(batch, E) for _ in range(2))
    found = _ScanGradients(torch.empty_like(conv), torch.empty_like(conv), dB, dC, dA, dD, d_bias)
    d_conv, ddt, *sums = (x.numpy() for x in found)
    dt = torch.empty_like(conv)
    dt_from_low(low.numpy(), own, packed(own.dt_proj.T), dt.numpy())
    inputs = [x.numpy() for x in scan_inputs(conv, dt, xz[..., E:], low, own)]
    arrays = [
        *inputs,
        dy.numpy(),
        *own.scan,
        rows_of(starts),
        kept.numpy(),
        adjoint,
        d_conv,
        ddt,
        dz.numpy(),
        *sums,
    ]
    share(batch * groups, lambda first, last: scan_backward(*arrays, CHUNK, groups, True, True, first, last))
    return found


def _convolution_gradients(
    own: Weights, u: Tensor, first: Tensor, starts: Tensor | None, dy: Tensor, du: Tensor
) -> tuple[Any, Tensor]:
    """Return the gradients of taps and bias [K + 1, E], float64, and of the inputs `first` [B, K-1, E].

    Args:
        u, dy: [B, L, E].
        first: the inputs before the first.
        du: [B, L, E], written.
    """
    batch, length, E = u.shape
    items = batch * -(-length // BLOCK)
    taps = own.conv[0].shape[0]
    d_first, sums = torch.empty_like(first), u.new_empty(items, taps + 1, E)
    kernel = [*own.conv, rows_of(None if starts is None else places(starts, taps - 1))]
    arrays = [u.numpy(), first.numpy(), *kernel, *(x.numpy() for x in (dy, du, d_first, sums))]
    share(items, lambda begin, end: convolution_backward(*arrays, BLOCK, True, begin, end))
    return sums.numpy().sum(0, dtype=np.float64), d_first


class _NumbaBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        eps: float,
        x: Tensor,
        conv_state: Tensor | None,
        ssm_state: Tensor | None,
        starts: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous()
        own = Weights(BlockWeights(*weights))
        y, keep = torch.empty_like(x), any(ctx.needs_input_grad)
        made, first, conv, ssm = block_forward(x, own, eps, conv_state, ssm_state, starts, y=y, keep=keep)
        if made is not None:
            ctx.save_for_backward(x, starts, *made, first, *weights)
        ctx.dtypes = [None if state is None else state.dtype for state in (conv_state, ssm_state)]
        return y, conv, ssm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, d_conv_state: Tensor, d_ssm_state: Tensor) -> tuple[Any, ...]:
        x, starts, scale, xz, conv, low, y, kept, first, *weights = ctx.saved_tensors
        own = Weights(BlockWeights(*weights))
        length, E, N = x.shape[1], own.channels, own.states
        rows, incoming, scales = _rows(x), _rows(dy.contiguous()), scale.view(-1).numpy()

        d_scan = torch.empty_like(conv)
        multiply(incoming, packed(own.out_proj), _rows(d_scan))
        d_out_proj = multiply_transposed(incoming, _rows(y))

        dxz, adjoint = torch.empty_like(xz), np.ascontiguousarray(d_ssm_state.numpy().swapaxes(1, 2))
        through = _scan_gradients(own, conv, xz, low, starts, kept, d_scan, adjoint, dxz[..., E:])
        d_conv = through.u

        d_low = torch.empty_like(low)
        of_low, of_ddt = _rows(d_low), _rows(through.dt)
        for start, parts in ((0, through.b), (N, through.c)):
            of_low[:, start : start + N] = parts.numpy().sum(0).reshape(-1, N)
        multiply(of_ddt, packed(own.dt_proj), of_low[:, 2 * N :])
        d_dt_proj = multiply_transposed(of_ddt, _rows(low)[:, 2 * N :])[:, : own.rank]
        multiply(of_low, packed(own.x_proj), _rows(d_conv), plus=_rows(d_conv))
        d_x_proj = multiply_transposed(of_low, _rows(conv))

        taps, d_first = _convolution_gradients(own, xz[..., :E], first, starts, d_conv, dxz[..., :E])
        inside = min(length, first.shape[1])  # of the last inputs; the others were there before
        dxz[:, length - inside :, :E] += d_conv_state[:, first.shape[1] - inside :]
        d_first[:, length:] += d_conv_state[:, : first.shape[1] - inside]

        dx = torch.empty_like(x)
        multiply(_rows(dxz), packed(own.in_proj * own.norm), _rows(dx))
        d_normed = multiply_transposed(_rows(dxz), rows, scales)
        share(
            len(rows),
            lambda begin, end: norm_backward(rows, scales, _rows(dx), incoming, _rows(dx), begin, end),
        )
        gradients: dict[str, Any] = {
            "norm": (d_normed * own.in_proj).sum(0),
            "in_proj": d_normed * own.norm,
            "conv_weight": taps[:-1].T,
            "conv_bias": taps[-1],
            "x_proj": np.concatenate([d_x_proj[2 * N : 2 * N + own.rank], d_x_proj[: 2 * N]]),
            "dt_proj": d_dt_proj,
            "dt_bias": through.bias.numpy().sum(0),
            "A": through.a.numpy().sum(0).T,
            "D": through.d.numpy().sum(0),
            "out_proj": d_out_proj,
        }
        conv_dtype, ssm_dtype = ctx.dtypes
        return (
            None,
            dx,
            None if conv_dtype is None else d_first.to(conv_dtype),
            None if ssm_dtype is None else turned(adjoint).to(ssm_dtype),
            None,
            *(torch.from_numpy(np.ascontiguousarray(g, np.float32)) for g in gradients.values()),
        )
