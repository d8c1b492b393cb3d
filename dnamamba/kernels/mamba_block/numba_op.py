"""The whole block by compiled CPU kernels: nothing of it waits for torch's threads.

It computes what the block's parts do and keeps what they keep, but for dt, which is made again.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnamamba.kernels.causal_conv1d.numba_kernels import convolution_backward, convolution_forward
from dnamamba.kernels.causal_conv1d.numba_op import BLOCK
from dnamamba.kernels.numba_cpu.layout import copied, padded, rows_of
from dnamamba.kernels.numba_cpu.products import multiply, multiply_transposed, packed
from dnamamba.kernels.numba_cpu.threads import share
from dnamamba.kernels.numba_cpu.vectors import LANES
from dnamamba.kernels.packing import places
from dnamamba.kernels.selective_scan.numba_backward import scan_backward
from dnamamba.kernels.selective_scan.numba_forward import scan_forward
from dnamamba.kernels.selective_scan.numba_op import CHUNK, SIDE_BY_SIDE

from .api import Block, BlockWeights
from .numba_norm import inverse_root_mean_squares, norm_backward


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


@torch.no_grad()
def block_after_numba(
    x: Tensor, weights: BlockWeights, *, eps: float, conv_state: Tensor | None, ssm_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See `mamba_block_after`."""
    made = _between(
        x.contiguous(), _Weights(weights, gated=False), eps, conv_state, ssm_state, None, keep=False
    )
    return made.conv_state, made.ssm_state


class _Weights:
    """A block's parameters as arrays of their own.

    Rows of x_proj are those of B, C, dt, then zeros up to a multiple of 16.
    """

    def __init__(self, weights: BlockWeights, *, gated: bool = True) -> None:
        arrays = BlockWeights(*(copied(w) for w in weights))
        self.channels, self.states = arrays.A.shape
        self.rank = arrays.dt_proj.shape[1]
        self.width = 2 * self.states + padded(self.rank)
        self.gated = gated
        self.norm, self.out_proj, self.dt_proj = arrays.norm, arrays.out_proj, arrays.dt_proj
        self.in_proj = arrays.in_proj if gated else arrays.in_proj[: self.channels]
        self.x_proj = np.zeros((self.width, self.channels), np.float32)
        self.x_proj[: 2 * self.states] = arrays.x_proj[self.rank :]
        self.x_proj[2 * self.states : 2 * self.states + self.rank] = arrays.x_proj[: self.rank]
        self.conv = (np.ascontiguousarray(arrays.conv_weight.T), arrays.conv_bias)
        self.scan = (np.ascontiguousarray(arrays.A.T), arrays.D, arrays.dt_bias)


class _Made(NamedTuple):
    """What a block computes before its output projection.

    Attributes:
        scale: [M], the factors of the norm.
        xz: [B, L, 2E], inputs of the convolution and gates; [B, L, E] without gates.
        conv: [B, L, E].
        low: [B, L, width], B, C, and what makes dt.
        y: [B, L, E].
        kept: [B, chunks, N, E], the scan's states; empty if none are needed.
        first: [B, K-1, E], the inputs before the first.
        conv_state, ssm_state: after the last position.
    """

    scale: Tensor
    xz: Tensor
    conv: Tensor
    low: Tensor
    y: Tensor
    kept: Tensor
    first: Tensor
    conv_state: Tensor
    ssm_state: Tensor


def _between(
    x: Tensor,
    own: _Weights,
    eps: float,
    conv_state: Tensor | None,
    ssm_state: Tensor | None,
    starts: Tensor | None,
    *,
    keep: bool,
) -> _Made:
    batch, length, _ = x.shape
    E, N = own.channels, own.states
    scale, rows = x.new_empty(batch * length), _rows(x)
    share(len(rows), lambda begin, end: inverse_root_mean_squares(rows, eps, scale.numpy(), begin, end))

    xz = x.new_empty(batch, length, 2 * E if own.gated else E)
    multiply(rows, packed((own.in_proj * own.norm).T), _rows(xz), scale=scale.numpy())
    u, z = xz[..., :E], xz[..., E:] if own.gated else xz
    before = own.conv[0].shape[0] - 1
    first = x.new_zeros(batch, before, E) if conv_state is None else conv_state.detach().float().contiguous()

    conv = x.new_empty(batch, length, E)
    arrays = [u.numpy(), first.numpy(), *own.conv, _places(starts, before), conv.numpy()]
    items = batch * -(-length // BLOCK)
    share(items, lambda begin, end: convolution_forward(*arrays, BLOCK, True, begin, end))

    low = x.new_empty(batch, length, own.width)
    multiply(_rows(conv), packed(own.x_proj.T), _rows(low))
    state = np.zeros((batch, N, E), np.float32)
    if ssm_state is not None:
        state[:] = ssm_state.detach().float().numpy().swapaxes(1, 2)
    kept = x.new_empty(batch, -(-length // CHUNK) if keep else 0, N, E)
    y = x.new_empty(batch, length, E)
    inputs = _scan_inputs(conv, _dt(low, own), z, low, own)
    arrays = [*inputs, *own.scan, rows_of(starts), state, y.numpy(), kept.numpy()]
    tiles = batch * E // LANES
    share(tiles, lambda begin, end: scan_forward(*arrays, CHUNK, True, own.gated, begin, end))

    last = torch.cat([first[:, length:], u[:, max(0, length - before) :]], dim=1)
    return _Made(scale, xz, conv, low, y, kept, first, last, _turned(state))


def _places(starts: Tensor | None, most: int) -> Any:
    return rows_of(None if starts is None else places(starts, most))


def _rows(x: Tensor) -> Any:
    """Return [B, L, n] as [B L, n]."""
    return x.detach().view(-1, x.shape[-1]).numpy()


def _turned(state: Any) -> Tensor:
    """Return [B, N, E] as a tensor [B, E, N]."""
    return torch.from_numpy(np.ascontiguousarray(state.swapaxes(1, 2)))


def _dt(low: Tensor, own: _Weights) -> Tensor:
    dt = low.new_empty(*low.shape[:2], own.channels)
    start = 2 * own.states
    multiply(_rows(low)[:, start : start + own.rank], packed(own.dt_proj.T), _rows(dt))
    return dt


def _scan_inputs(conv: Tensor, dt: Tensor, z: Tensor, low: Tensor, own: _Weights) -> list[Any]:
    N = own.states
    return [x.numpy() for x in (conv, dt, z, low[..., :N], low[..., N : 2 * N])]


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
    own: _Weights,
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
        conv, xz, low, kept: see `_Made`.
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
    inputs = _scan_inputs(conv, _dt(low, own), xz[..., E:], low, own)
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
    own: _Weights, u: Tensor, first: Tensor, starts: Tensor | None, dy: Tensor, du: Tensor
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
    kernel = [*own.conv, _places(starts, taps - 1)]
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
        own = _Weights(BlockWeights(*weights))
        made = _between(x, own, eps, conv_state, ssm_state, starts, keep=any(ctx.needs_input_grad))
        y = torch.empty_like(x)
        multiply(_rows(made.y), packed(own.out_proj.T), _rows(y), plus=_rows(x))
        ctx.save_for_backward(x, starts, *made[:-2], *weights)
        ctx.dtypes = [None if state is None else state.dtype for state in (conv_state, ssm_state)]
        return y, made.conv_state, made.ssm_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, d_conv_state: Tensor, d_ssm_state: Tensor) -> tuple[Any, ...]:
        x, starts, scale, xz, conv, low, y, kept, first, *weights = ctx.saved_tensors
        own = _Weights(BlockWeights(*weights))
        length, E, N = x.shape[1], own.channels, own.states
        rows, incoming, scales = _rows(x), _rows(dy.contiguous()), scale.numpy()

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
            None if ssm_dtype is None else _turned(adjoint).to(ssm_dtype),
            None,
            *(torch.from_numpy(np.ascontiguousarray(g, np.float32)) for g in gradients.values()),
        )
