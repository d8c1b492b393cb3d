# The bodies are Gluon's language: ranges have two ends, a constexpr branch stands alone.
# ruff: noqa: SIM102
# mypy: ignore-errors
"""The forward sweeps in Gluon: `forward_summary` and `forward_output` of `triton_forward.py`, which has the
maths; `gluon_parts.py` says for which inputs, and why.

Every pass of the loop begins the copies of the next block and works on its own; the pass before the first
only copies.
"""

from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy

from dnamamba.kernels.triton_math import FORGET, exp2, sigmoid

from .gluon_parts import (
    DENSE_2D,
    TILE,
    WIDTH,
    N,
    add_states,
    column,
    fetch_rows,
    fetch_states,
    kernel,
    load_row,
    rate_of,
    row,
    row_of,
    row_offsets,
    starts_here,
    starts_of_block,
    step_size,
    tile_offsets,
    two_blocks,
    widen,
)
from .triton_forward import locate_forward, place


@kernel
def forward_summary(
    p_u, p_dt, p_A, p_B, p_bias, p_starts, p_state, p_total,
    stride_Bb, stride_Bt, batch, L, tiles, chunks, long, T, saved, slots,
    ROWS: gl.constexpr, SEGMENT: gl.constexpr, HAS_BIAS: gl.constexpr, HAS_STARTS: gl.constexpr,
    SOFTPLUS: gl.constexpr, TURN: gl.constexpr,
):  # fmt: skip
    """Write each chunk's drive where the next chunk's first state goes, and its sum of deltas."""
    s_u = two_blocks(p_u, ROWS, WIDTH)
    s_dt = two_blocks(p_dt, ROWS, WIDTH)
    s_lowB = two_blocks(p_B, ROWS, N)
    s_B = gl.allocate_shared_memory(gl.float32, [ROWS, N], DENSE_2D)
    i_e, i_c, i_b = locate_forward(gl.program_id(0), tiles, batch)
    E = tiles * WIDTH
    step = E * TURN
    o_e, o_ne, o_en = tile_offsets(i_e * WIDTH, E)
    b_A = gl.load(p_A + o_en).to(gl.float32)
    b_bias = load_row(p_bias, o_e, HAS_BIAS)
    b_h = gl.zeros([N, WIDTH], gl.float32, TILE)
    b_total = gl.zeros([1, WIDTH], gl.float32, TILE)

    first = place(i_c, long, T, SEGMENT)
    t0 = row_of(first.to(gl.int64), L, TURN)
    o_rows = (i_b * L + t0) * E + i_e * WIDTH + row_offsets(step, ROWS)
    p_B += (i_b * stride_Bb + t0 * stride_Bt) * 8
    step_B = stride_Bt * TURN
    blocks = gl.minimum(L - first, place(i_c + 1, long, T, SEGMENT) - first) // ROWS
    i_block = (i_b * L + first) // ROWS
    b_next = starts_of_block(p_starts, i_block, False, False)
    for i_k in range(-1, blocks):
        b_starts = b_next
        b_next = starts_of_block(p_starts, i_block + i_k + 1, i_k + 1 < blocks, HAS_STARTS)
        if i_k + 1 < blocks:
            x = (i_k + 1) % 2
            t = (i_k + 1) * ROWS
            fetch_rows(s_u.index(x), p_u, o_rows + t * step)
            fetch_rows(s_dt.index(x), p_dt, o_rows + t * step)
            fetch_states(s_lowB.index(x), p_B + t * step_B * 8, step_B * 8)
        async_copy.commit_group()
        if i_k >= 0:
            async_copy.wait_group(1)
            x = i_k % 2
            widen(s_B, s_lowB.index(x))
            for k in gl.static_range(ROWS):
                b_delta = step_size(row(s_dt.index(x), k), b_bias, SOFTPLUS)
                b_drive = (b_delta * row(s_u.index(x), k)) * column(s_B, k)
                b_h = exp2(rate_of(b_delta, b_starts, k, HAS_STARTS) * b_A, True) * b_h + b_drive
                b_total += b_delta
                if HAS_STARTS:
                    b_total = gl.where(starts_here(b_starts, k), FORGET, b_total)
    i_next = i_b * saved + place((i_c + 1) % chunks, long, slots, 1)
    gl.store(p_state + i_next * E * N + o_ne, b_h)
    gl.store(p_total + (i_b * chunks + i_c) * E + o_e, b_total)


@kernel
def forward_output(
    p_u, p_dt, p_A, p_B, p_C, p_D, p_z, p_bias, p_starts, p_first, p_state, p_y, p_last,
    stride_Bb, stride_Bt, stride_Cb, stride_Ct, batch, L, tiles, chunks, long, T, saved, slots,
    ROWS: gl.constexpr, SEGMENT: gl.constexpr,
    HAS_D: gl.constexpr, HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr, HAS_STARTS: gl.constexpr,
    HAS_FIRST: gl.constexpr, SOFTPLUS: gl.constexpr, SINGLE: gl.constexpr, SAVE: gl.constexpr,
    TURN: gl.constexpr,
):  # fmt: skip
    """Write y, the state before every segment (if SAVE), and the last state."""
    s_u = two_blocks(p_u, ROWS, WIDTH)
    s_dt = two_blocks(p_dt, ROWS, WIDTH)
    s_z = two_blocks(p_dt, ROWS, WIDTH)
    s_lowB = two_blocks(p_B, ROWS, N)
    s_lowC = two_blocks(p_C, ROWS, N)
    s_B = gl.allocate_shared_memory(gl.float32, [ROWS, N], DENSE_2D)
    s_C = gl.allocate_shared_memory(gl.float32, [ROWS, N], DENSE_2D)
    i_e, i_c, i_b = locate_forward(gl.program_id(0), tiles, batch)
    E = tiles * WIDTH
    step = E * TURN
    o_e, o_ne, o_en = tile_offsets(i_e * WIDTH, E)
    b_A = gl.load(p_A + o_en).to(gl.float32)
    b_D = load_row(p_D, o_e, HAS_D)
    b_bias = load_row(p_bias, o_e, HAS_BIAS)
    p_state += (i_b * saved + place(i_c, long, slots, 1)) * E * N
    b_h = gl.zeros([N, WIDTH], gl.float32, TILE)
    if SINGLE:
        if HAS_FIRST:
            b_h += gl.load(p_first + i_b * E * N + o_en).to(gl.float32)
    else:
        b_h += gl.load(p_state + o_ne)

    first = place(i_c, long, T, SEGMENT)
    t0 = row_of(first.to(gl.int64), L, TURN)
    o_chunk = (i_b * L + t0) * E
    o_rows = o_chunk + i_e * WIDTH + row_offsets(step, ROWS)
    p_B += (i_b * stride_Bb + t0 * stride_Bt) * 8
    p_C += (i_b * stride_Cb + t0 * stride_Ct) * 8
    step_B, step_C = stride_Bt * TURN, stride_Ct * TURN
    blocks = gl.minimum(L - first, place(i_c + 1, long, T, SEGMENT) - first) // ROWS
    i_block = (i_b * L + first) // ROWS
    b_next = starts_of_block(p_starts, i_block, False, False)
    for i_k in range(-1, blocks):
        b_starts = b_next
        b_next = starts_of_block(p_starts, i_block + i_k + 1, i_k + 1 < blocks, HAS_STARTS)
        if i_k + 1 < blocks:
            x = (i_k + 1) % 2
            t = (i_k + 1) * ROWS
            fetch_rows(s_u.index(x), p_u, o_rows + t * step)
            fetch_rows(s_dt.index(x), p_dt, o_rows + t * step)
            if HAS_Z:
                fetch_rows(s_z.index(x), p_z, o_rows + t * step)
            fetch_states(s_lowB.index(x), p_B + t * step_B * 8, step_B * 8)
            fetch_states(s_lowC.index(x), p_C + t * step_C * 8, step_C * 8)
        async_copy.commit_group()
        if i_k >= 0:
            if SAVE:
                if i_k % (SEGMENT // ROWS) == 0:
                    i_s = (i_k // (SEGMENT // ROWS)).to(gl.int64)
                    gl.store(p_state + i_s * E * N + o_ne, b_h)
            async_copy.wait_group(1)
            x = i_k % 2
            widen(s_B, s_lowB.index(x))
            widen(s_C, s_lowC.index(x))
            for k in gl.static_range(ROWS):
                b_u = row(s_u.index(x), k)
                b_delta = step_size(row(s_dt.index(x), k), b_bias, SOFTPLUS)
                b_drive = (b_delta * b_u) * column(s_B, k)
                b_h = exp2(rate_of(b_delta, b_starts, k, HAS_STARTS) * b_A, True) * b_h + b_drive
                b_y = add_states(b_h * column(s_C, k))
                if HAS_D:
                    b_y += b_D * b_u
                if HAS_Z:
                    b_z = row(s_z.index(x), k)
                    b_y *= b_z * sigmoid(b_z, True)
                o_y = o_chunk + (i_k * ROWS + k) * step + o_e
                gl.store(p_y + o_y, b_y.to(p_y.dtype.element_ty))
    if i_c + 1 == chunks:
        gl.store(p_last + i_b * E * N + o_en, b_h)
