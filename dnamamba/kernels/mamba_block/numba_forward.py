"""The block's forward pass by compiled CPU kernels, slice by slice: what it makes stays in the cache."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnamamba.kernels.causal_conv1d.numba_kernels import convolution_forward
from dnamamba.kernels.causal_conv1d.numba_op import BLOCK
from dnamamba.kernels.numba_cpu.layout import copied, padded, rows_of
from dnamamba.kernels.numba_cpu.products import multiply, packed
from dnamamba.kernels.numba_cpu.threads import share
from dnamamba.kernels.numba_cpu.vectors import LANES
from dnamamba.kernels.packing import places
from dnamamba.kernels.selective_scan.numba_forward import scan_forward
from dnamamba.kernels.selective_scan.numba_op import CHUNK

from .api import BlockWeights
from .numba_norm import inverse_root_mean_squares

# Positions of a slice, about. For 256 channels the block makes 5 KB of each.
_SLICE = 512


class Weights:
    """A block's parameters as arrays of their own.

    Rows of x_proj are those of B, C, dt, then zeros up to a multiple of 16.

    Args:
        weights: float32.
        gated: whether gates are computed; without them y lacks its factor, and the states are the same.
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


class Between(NamedTuple):
    """What a block computes before its output projection; arrays, or tensors.

    Attributes:
        scale: [B, L], the factors of the norm.
        xz: [B, L, 2E], inputs of the convolution and gates; [B, L, E] without gates.
        conv: [B, L, E].
        low: [B, L, width], B, C, and what makes dt.
        y: [B, L, E].
        kept: [B, chunks, N, E], the scan's states; without chunks if none are needed.
    """

    scale: Any
    xz: Any
    conv: Any
    low: Any
    y: Any
    kept: Any

    def part(self, rows: slice, positions: slice) -> "Between":
        """Return the slices of all for some sequences and, from a multiple of CHUNK on, positions."""
        chunks = slice(positions.start // CHUNK, -(-positions.stop // CHUNK))
        return Between._make([*(x[rows, positions] for x in self[:-1]), self.kept[rows, chunks]])


def _shapes(batch: int, length: int, own: Weights, *, keep: bool) -> list[tuple[int, ...]]:
    E, chunks = own.channels, -(-length // CHUNK) if keep else 0
    widths = [(), (2 * E if own.gated else E,), (E,), (own.width,), (E,)]
    return [*((batch, length, *width) for width in widths), (batch, chunks, own.states, E)]


def block_forward(
    x: Tensor,
    own: Weights,
    eps: float,
    conv_state: Tensor | None,
    ssm_state: Tensor | None,
    starts: Tensor | None,
    *,
    y: Tensor | None,
    keep: bool,
) -> tuple[Between | None, Tensor, Tensor, Tensor]:
    """Write x + mixer(norm(x)) into `y` if it is given.

    A group of sequences, or a long one, goes through the whole block slice by slice; threads take groups, or
    share the work on each slice if there are few. Neither changes a sum.

    Args:
        x: [B, L, D], dense.
        own: the parameters.
        eps: of the norm.
        conv_state, ssm_state, starts: see `mamba_block`.
        y: [B, L, D], written.
        keep: return what the backward needs, else None in its place.

    Returns:
        What was computed between; the inputs before the first [B, K-1, E]; both states after the last.
    """
    batch, length, _ = x.shape
    before = own.conv[0].shape[0] - 1
    first = x.new_zeros(batch, before, own.channels)
    if conv_state is not None:
        first.copy_(conv_state.detach())
    state = np.zeros((batch, own.states, own.channels), np.float32)
    if ssm_state is not None:
        state[:] = ssm_state.detach().float().numpy().swapaxes(1, 2)
    last = first.numpy().copy()
    whole = Between(*map(x.new_empty, _shapes(batch, length, own, keep=True))) if keep else None
    kept = None if whole is None else Between(*(each.numpy() for each in whole))

    threads = torch.get_num_threads()
    group = max(1, _SLICE // max(1, length))
    groups = -(-batch // group)
    apart = groups % threads == 0 or groups >= 4 * threads
    slices = max(1, round(length / (_SLICE if apart else _SLICE * threads)))
    size = padded(-(-length // slices), CHUNK)
    marks = (rows_of(starts), rows_of(None if starts is None else places(starts, before)))
    block = _Block(x.detach().numpy(), own, eps, marks, state, last, None if y is None else y.numpy())

    def work(begin: int, end: int) -> None:
        shapes = _shapes(group, min(size, length), own, keep=False)
        room = Between(*(np.empty(shape, np.float32) for shape in shapes))
        dt = np.empty(shapes[2], np.float32)
        for i in range(begin, end):
            rows = slice(i * group, min(batch, i * group + group))
            for start in range(0, length, size):
                positions = slice(start, min(length, start + size))
                local = slice(0, rows.stop - rows.start), slice(0, positions.stop - start)
                part = room.part(*local) if kept is None else kept.part(rows, positions)
                block.run(rows, positions, part, dt[local])

    if apart:
        share(groups, work)
    else:
        work(0, groups)
    return whole, first, torch.from_numpy(last), turned(state)


class _Block:
    """One block and its input, output and states, of which slices are computed."""

    def __init__(
        self, x: Any, own: Weights, eps: float, marks: tuple[Any, Any], state: Any, last: Any, y: Any
    ) -> None:
        self.x, self.own, self.eps, self.marks = x, own, eps, marks
        self.state, self.last, self.y = state, last, y
        self.in_proj = packed((own.in_proj * own.norm).T)
        self.x_proj, self.dt_proj, self.out_proj = (
            packed(weight.T) for weight in (own.x_proj, own.dt_proj, own.out_proj)
        )

    def run(self, rows: slice, positions: slice, part: Between, dt: Any) -> None:
        """Compute one slice into `part`, dt into `dt` [b, l, E]; move the states to its end."""
        own, E, here = self.own, self.own.channels, (rows, positions)
        x, scale = flat(self.x[here]), part.scale.reshape(-1)
        share(len(x), lambda begin, end: inverse_root_mean_squares(x, self.eps, scale, begin, end))
        multiply(x, self.in_proj, flat(part.xz), scale=scale)
        u, z = part.xz[..., :E], part.xz[..., E:] if own.gated else part.xz
        starts, places = (mark[here] if len(mark) else mark for mark in self.marks)

        last, length = self.last[rows], u.shape[1]
        convolution = [u, last, *own.conv, places, part.conv]
        items = len(u) * -(-length // BLOCK)
        share(items, lambda begin, end: convolution_forward(*convolution, BLOCK, True, begin, end))
        before = last.shape[1]
        last[:] = np.concatenate([last[:, length:], u[:, max(0, length - before) :]], axis=1)

        multiply(flat(part.conv), self.x_proj, flat(part.low))
        dt_from_low(part.low, own, self.dt_proj, dt)
        scan = [*scan_inputs(part.conv, dt, z, part.low, own), *own.scan]
        scan += [starts, self.state[rows], part.y, part.kept]
        tiles = len(u) * E // LANES
        share(tiles, lambda begin, end: scan_forward(*scan, CHUNK, True, own.gated, begin, end))
        if self.y is not None:
            multiply(flat(part.y), self.out_proj, flat(self.y[here]), plus=x)


def flat(x: Any) -> Any:
    """Return a dense array [b, l, n] as [b l, n], the same memory."""
    assert x.flags.c_contiguous
    return x.reshape(-1, x.shape[-1])


def turned(state: Any) -> Tensor:
    """Return [B, N, E] as a tensor [B, E, N]."""
    return torch.from_numpy(np.ascontiguousarray(state.swapaxes(1, 2)))


def dt_from_low(low: Any, own: Weights, dt_proj: Any, dt: Any) -> None:
    """Write dt before bias and softplus.

    Args:
        low: [b, l, width], see `Between`.
        own: the parameters.
        dt_proj: as `packed` returns it.
        dt: [b, l, E], written.
    """
    start = 2 * own.states
    multiply(flat(low)[:, start : start + own.rank], dt_proj, flat(dt))


def scan_inputs(conv: Any, dt: Any, z: Any, low: Any, own: Weights) -> list[Any]:
    """Return u, dt, z, B and C.

    Args:
        conv, dt, z: [b, l, E].
        low: [b, l, width], see `Between`.
        own: the parameters.
    """
    N = own.states
    return [conv, dt, z, low[..., :N], low[..., N : 2 * N]]
