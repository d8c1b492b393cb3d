"""Matrix products of activations and weights, on the threads of the other kernels.

torch's products would do; but its threads spin for milliseconds after each, on the cores that these kernels'
threads need. A block of rows is copied, so that its rows lie close together, and multiplied tile by tile
with weights that `packed` has put in the order of their use.
"""

from typing import Any

import numba
import numpy as np

from .compiling import compiled
from .threads import share
from .tiles import COLUMNS, ROWS, multiply_narrow_tile, multiply_tile
from .vectors import LANES, constant, load, store

_BLOCK = 8 * ROWS  # rows that are multiplied with all weights while they are in the cache
_PIECES = 16  # of the rows, for the gradients of weights; a constant, so that sums don't depend on threads


def packed(weight: Any) -> Any:
    """Return `weight` [K, N] in panels of COLUMNS columns, filled up with zeros: [panels, K, COLUMNS]."""
    terms, columns = weight.shape
    panels = -(-columns // COLUMNS)
    filled = np.zeros((terms, panels * COLUMNS), np.float32)
    filled[:, :columns] = weight
    return np.ascontiguousarray(filled.reshape(terms, panels, COLUMNS).transpose(1, 0, 2))


def multiply(x: Any, panels: Any, y: Any, *, scale: Any = None, plus: Any = None) -> None:
    """Write y = scale x W + plus.

    Args:
        x: [M, K].
        panels: W [K, N] as `packed` returns it.
        y: [M, N], N a multiple of 16, written; may be `plus`.
        scale: [M], a factor of each row.
        plus: [M, N].
    """
    blocks = -(-len(x) // _BLOCK)
    scales = np.empty(0, np.float32) if scale is None else scale
    added = y[:0] if plus is None else plus
    share(blocks, lambda first, last: _multiply(x, panels, scales, added, y, _BLOCK, first, last))


def multiply_transposed(a: Any, b: Any, scale: Any = None) -> Any:
    """Return the sum over rows, a' diag(scale) b, float32 [N, K].

    Args:
        a: [M, N].
        b: [M, K], K a multiple of 16.
        scale: [M], a factor of each row.
    """
    rows = -(-len(a) // _PIECES)
    rows += -rows % _BLOCK
    pieces = -(-len(a) // rows)
    sums = np.zeros((pieces, a.shape[1], b.shape[1]), np.float32)
    scales = np.empty(0, np.float32) if scale is None else scale
    share(pieces, lambda first, last: _multiply_transposed(a, b, scales, sums, _BLOCK, rows, first, last))
    return sums.sum(0)


_ROWS = "float32[:,:]"
_END = "int64, int64)"


@numba.njit(inline="always")
def _copy_row(x: Any, row: Any, start: Any, stop: Any, factor: Any, to: Any, at: Any) -> None:
    """Write factor x[row, start:stop] into `to` from `at` on."""
    whole = start + (stop - start) // LANES * LANES
    factors = constant(factor)
    place = row * (x.strides[0] >> 2)
    for k in range(start, whole, LANES):
        store(to, at + k - start, factors * load(x, place + k))
    for k in range(whole, stop):
        to[at + k - start] = factor * x[row, k]


@compiled(f"void({_ROWS}, float32[:,:,::1], float32[::1], {_ROWS}, {_ROWS}, int64, {_END}")
def _multiply(x: Any, panels: Any, scale: Any, plus: Any, y: Any, block: Any, first: Any, last: Any) -> None:
    rows, terms = x.shape
    columns = y.shape[1]
    copied = np.zeros(block * terms, np.float32)
    tile = np.empty(ROWS * COLUMNS, np.float32)
    scaled, added = scale.shape[0] > 0, plus.shape[0] > 0
    for item in range(first, last):
        start = item * block
        count = min(block, rows - start)
        for i in range(count):
            factor = scale[start + i] if scaled else np.float32(1.0)
            _copy_row(x, start + i, 0, terms, factor, copied, i * terms)
        for p in range(panels.shape[0]):
            width = min(COLUMNS, columns - p * COLUMNS)
            for i in range(0, count, ROWS):
                to = (start + i) * (y.strides[0] >> 2) + p * COLUMNS
                direct = width == COLUMNS and i + ROWS <= count and not added
                from_x, from_w = i * terms, p * terms * COLUMNS
                if direct:
                    multiply_tile(
                        copied, from_x, terms, 1, panels, from_w, COLUMNS, terms, y, to, y.strides[0] >> 2
                    )
                    continue
                if width > LANES:
                    multiply_tile(copied, from_x, terms, 1, panels, from_w, COLUMNS, terms, tile, 0, COLUMNS)
                else:
                    multiply_narrow_tile(
                        copied, from_x, terms, 1, panels, from_w, COLUMNS, terms, tile, 0, COLUMNS
                    )
                for r in range(min(ROWS, count - i)):
                    at = to + r * (y.strides[0] >> 2)
                    at_plus = (start + i + r) * (plus.strides[0] >> 2) + p * COLUMNS
                    for j in range(0, width, LANES):
                        value = load(tile, r * COLUMNS + j)
                        if added:
                            value = value + load(plus, at_plus + j)
                        store(y, at + j, value)


@compiled(f"void({_ROWS}, {_ROWS}, float32[::1], float32[:,:,::1], int64, int64, {_END}")
def _multiply_transposed(
    a: Any, b: Any, scale: Any, sums: Any, block: Any, piece: Any, first: Any, last: Any
) -> None:
    rows, outer = a.shape
    inner = b.shape[1]
    width = -(-outer // ROWS) * ROWS
    panels = -(-inner // COLUMNS)
    copied = np.zeros(block * width, np.float32)
    packed_b = np.zeros(panels * block * COLUMNS, np.float32)
    tile = np.empty(ROWS * COLUMNS, np.float32)
    scaled = scale.shape[0] > 0
    for item in range(first, last):
        for start in range(item * piece, min(item * piece + piece, rows), block):
            count = min(block, rows - start)
            for s in range(count):
                factor = scale[start + s] if scaled else np.float32(1.0)
                _copy_row(a, start + s, 0, outer, np.float32(1.0), copied, s * width)
                for p in range(panels):
                    stop = min(p * COLUMNS + COLUMNS, inner)
                    _copy_row(b, start + s, p * COLUMNS, stop, factor, packed_b, (p * block + s) * COLUMNS)
            for p in range(panels):
                for n in range(0, outer, ROWS):
                    at = p * block * COLUMNS
                    multiply_tile(copied, n, 1, width, packed_b, at, COLUMNS, count, tile, 0, COLUMNS)
                    for r in range(min(ROWS, outer - n)):
                        at = (item * outer + n + r) * inner + p * COLUMNS
                        for j in range(0, min(COLUMNS, inner - p * COLUMNS), LANES):
                            store(sums, at + j, load(sums, at + j) + load(tile, r * COLUMNS + j))
