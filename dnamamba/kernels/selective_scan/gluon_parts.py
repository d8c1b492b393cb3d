# The bodies are Gluon's language.
# mypy: ignore-errors
"""What the Gluon kernels of the scan share: where values lie, and copies ahead into shared memory.

The sweeps are those of `triton_forward.py` and `triton_backward.py`, with their maths, for the inputs that
training has: half precision, N = 16, channels in tiles of 32, positions in blocks. Gluon is the part of
Triton in which a kernel says itself where its values lie, and that is what these gain by:

- Rows are copied into shared memory a block ahead, by instructions that no warp waits for. Loaded into
  registers, every pair of steps waited for them.
- B and C become fp32 once per block. A row of them is then read by all lanes at once, 4 states per load.
- Sums over channels begin on the tensor cores (`add_quads`).

A tile of [N, WIDTH] has a channel in each lane and its states in that lane's registers, a row [1, WIDTH] a
value in each lane, a column [N, 1] all states in every lane. u, dt, z and dy are dense, B and C have rows
of their own strides, in units of 8 elements: all copies are of 4, 8 or 16 aligned bytes.
"""

import inspect
from collections.abc import Callable
from typing import Any

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy, mma_v2

from dnamamba.kernels.triton_math import FORGET, LOG2E, softplus

N = gl.constexpr(16)
WIDTH = gl.constexpr(32)
TILE = gl.constexpr(gl.BlockedLayout([16, 1], [1, 32], [1, 1], [0, 1]))
# Shared memory in the order of the indices.
DENSE_2D = gl.constexpr(gl.SwizzledSharedLayout(1, 1, 1, [1, 0]))
DENSE_3D = gl.constexpr(gl.SwizzledSharedLayout(1, 1, 1, [2, 1, 0]))
PRODUCT = gl.constexpr(gl.NVMMADistributedLayout(version=[2, 0], warps_per_cta=[1, 1], instr_shape=[16, 8]))
LEFT = gl.constexpr(gl.DotOperandLayout(0, PRODUCT, 1))
RIGHT = gl.constexpr(gl.DotOperandLayout(1, PRODUCT, 1))


def kernel(function: Callable[..., Any]) -> Any:
    """Return a kernel that is compiled once for all sizes and strides."""
    sizes = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if not name.startswith("p_") and parameter.annotation is inspect.Parameter.empty
    ]
    return gluon.jit(function, do_not_specialize=sizes)


@gluon.jit
def locate(tiles, chunks):
    """Return this program's tile, chunk and batch row, the first changing fastest; neighbours share rows."""
    i_p = gl.program_id(0)
    return i_p % tiles, (i_p // tiles) % chunks, (i_p // tiles // chunks).to(gl.int64)


@gluon.jit
def first_tile(i_g, tiles, groups):
    """Return a group's first tile; the first groups have one tile more if the number is not even."""
    return i_g * (tiles // groups) + gl.minimum(i_g, tiles % groups)


@gluon.jit
def row_of(t, L, TURN: gl.constexpr):
    """Return where the t-th position that is read lies: from the end if TURN is -1.

    Offsets are turned and pointers are not: those of a kernel's arguments take no registers.
    """
    return t if TURN == 1 else L - 1 - t


@gluon.jit
def tile_offsets(e0, E):
    """Return the offsets of a tile's row, [1, WIDTH], and of its states in [N, E] and in [E, N]."""
    o_e = (e0 + gl.arange(0, WIDTH, gl.SliceLayout(0, TILE)))[None, :]
    o_n = gl.arange(0, N, gl.SliceLayout(1, TILE))[:, None]
    return o_e, o_n * E + o_e, o_e * N + o_n


@gluon.jit
def two_blocks(p_rows, ROWS: gl.constexpr, COLS: gl.constexpr):
    """Allocate shared memory for two blocks of ROWS rows: one is read while the other is filled."""
    return gl.allocate_shared_memory(p_rows.dtype.element_ty, [2, ROWS, COLS], DENSE_2D)


@gluon.jit
def load_row(p_row, o_e, PRESENT: gl.constexpr):
    """Load a parameter of a tile's channels; zeros if it is not PRESENT."""
    b_row = gl.zeros([1, WIDTH], gl.float32, TILE)
    if PRESENT:
        b_row += gl.load(p_row + o_e).to(gl.float32)
    return b_row


@gluon.jit
def row_offsets(step, ROWS: gl.constexpr):
    """Return the offsets of a tile's block of ROWS rows, each lane with its share of the copy.

    From one row to the next it is `step`: E, or -E from the end of a sequence.
    """
    COPY: gl.constexpr = gl.BlockedLayout([1, ROWS], [ROWS, 32 // ROWS], [1, 1], [1, 0])
    o_row = gl.arange(0, ROWS, gl.SliceLayout(1, COPY))
    return o_row[:, None] * step + gl.arange(0, WIDTH, gl.SliceLayout(0, COPY))[None, :]


@gluon.jit
def fetch_rows(rows, p_rows, o_rows):
    """Begin to copy a block of rows."""
    async_copy.async_copy_global_to_shared(rows, p_rows + o_rows)


@gluon.jit
def fetch_states(states, p_states, stride):
    """Begin to copy a block of B's or C's rows."""
    ROWS: gl.constexpr = states.shape[0]
    COPY: gl.constexpr = gl.BlockedLayout([1, ROWS // 2], [ROWS, 32 // ROWS], [1, 1], [1, 0])
    o_row = gl.arange(0, ROWS, gl.SliceLayout(1, COPY))
    o_n = gl.arange(0, N, gl.SliceLayout(0, COPY))
    async_copy.async_copy_global_to_shared(states, p_states + o_row[:, None] * stride + o_n[None, :])


@gluon.jit
def widen(states, low):
    """Turn a block of B or C into fp32."""
    ROWS: gl.constexpr = low.shape[0]
    SHARE: gl.constexpr = gl.BlockedLayout([1, ROWS // 2], [ROWS, 32 // ROWS], [1, 1], [1, 0])
    states.store(low.load(SHARE).to(gl.float32))


@gluon.jit
def row(rows, i: gl.constexpr):
    """Load row i in fp32."""
    return rows.slice(i, 1, dim=0).load(TILE).to(gl.float32)


@gluon.jit
def column(states, i: gl.constexpr):
    """Load row i of B or C, after `widen`, as a column."""
    return states.slice(i, 1, dim=0).permute([1, 0]).load(TILE)


@gluon.jit
def add_states(b_x):
    """Return the sum over states, as a row."""
    return gl.sum(b_x, axis=0)[None, :]


@gluon.jit
def step_size(b_dt, b_bias, SOFTPLUS: gl.constexpr):
    """Return delta of one step."""
    b_delta = b_dt + b_bias
    if SOFTPLUS:
        b_delta = softplus(b_delta, True)
    return b_delta


@gluon.jit
def starts_of_block(p_starts, block, more, HAS_STARTS: gl.constexpr):
    """Load a block of starts as one number, a byte for each position; 0 where no more blocks come."""
    b_starts = block.to(gl.int64) * 0
    if HAS_STARTS:  # noqa: SIM102 - a constexpr branch stands alone
        if more:
            b_starts = gl.load(p_starts + block).to(gl.int64)
    return b_starts


@gluon.jit
def rate_of(b_delta, b_starts, k: gl.constexpr, HAS_STARTS: gl.constexpr):
    """Return the size of step k in the exponent, for base 2: `FORGET` where a sequence starts."""
    b_rate = b_delta * LOG2E
    if HAS_STARTS:
        b_rate = gl.where(starts_here(b_starts, k), FORGET, b_rate)
    return b_rate


@gluon.jit
def starts_here(b_starts, k: gl.constexpr):
    """Return whether a sequence starts at position k of a block."""
    return ((b_starts >> (8 * k)) & 1) != 0


@gluon.jit
def routes():
    """Return the right-hand side of `add_quads`: row k has its one in column k // 4."""
    o_k = gl.arange(0, 32, gl.SliceLayout(1, RIGHT))
    o_column = gl.arange(0, 8, gl.SliceLayout(0, RIGHT))
    return gl.where((o_k // 4)[:, None] == o_column[None, :], 1.0, 0.0)


@gluon.jit
def add_quads(b_x, b_routes):
    """Sum [N, WIDTH] over every four neighbouring channels, in TF32: [1, 8, N].

    The registers of a tile are, read as the left-hand side of a product, [16, 32]: the row is a quad of lanes
    (8) and the highest bit of the state (2), the column the other bits of the state (8) and the lane within
    the quad (4). So the product sums over the quad, and nothing has to move between lanes before it.
    """
    b_x = gl.permute(gl.reshape(b_x, [2, 8, 8, 4]), [0, 2, 1, 3])
    b_x = gl.convert_layout(gl.reshape(b_x, [16, 32]), LEFT)
    b_sum = mma_v2(b_x, b_routes, gl.zeros([16, 8], gl.float32, PRODUCT), input_precision="tf32")
    return gl.reshape(gl.permute(gl.reshape(b_sum, [2, 8, 8]), [1, 0, 2]), [1, 8, N])


@gluon.jit
def store_sums(p_sums, quads, add, TURN: gl.constexpr):
    """Finish the sums over channels of the four positions in `quads`, [4, 8, N]: store, or add."""
    SHARE: gl.constexpr = gl.BlockedLayout([1, 8, 2], [4, 1, 8], [1, 1, 1], [2, 1, 0])
    b_sum = gl.sum(quads.load(SHARE), axis=1)
    o_row = gl.arange(0, 4, gl.SliceLayout(1, gl.SliceLayout(1, SHARE)))
    o_n = gl.arange(0, N, gl.SliceLayout(0, gl.SliceLayout(1, SHARE)))
    p_sums += o_row[:, None] * (N * TURN) + o_n[None, :]
    if add:
        # The one thread that stored here adds, in its own order: an atomic that nobody waits for.
        gl.atomic_add(p_sums, b_sum, sem="relaxed")
    else:
        gl.store(p_sums, b_sum)
