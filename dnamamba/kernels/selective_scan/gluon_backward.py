# The bodies are Gluon's language: ranges have two ends, a constexpr branch stands alone.
# ruff: noqa: PIE808
# mypy: ignore-errors
"""The backward sweeps in Gluon: `backward_summary` and `backward_gradient` of `triton_backward.py`, which has
the maths; `gluon_parts.py` says for which inputs, and why.

A window of the telescoped sum is a whole segment. What passes between the two sweeps over a segment stays in
shared memory (the terms of h) and in registers (the last state).
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy

from dnamamba.kernels.triton_math import FORGET, exp2, sigmoid

from .gluon_parts import (
    DENSE_2D,
    DENSE_3D,
    TILE,
    WIDTH,
    N,
    add_quads,
    add_states,
    column,
    fetch_rows,
    fetch_states,
    first_tile,
    kernel,
    load_row,
    locate,
    rate_of,
    routes,
    row,
    row_of,
    row_offsets,
    starts_here,
    starts_of_block,
    step_size,
    store_sums,
    tile_offsets,
    two_blocks,
    widen,
)


@kernel
def backward_summary(
    p_dt, p_A, p_C, p_z, p_bias, p_starts, p_dy, p_adjoint, p_total,
    stride_Cb, stride_Ct, L, tiles, chunks, T,
    ROWS: gl.constexpr, HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr, HAS_STARTS: gl.constexpr,
    SOFTPLUS: gl.constexpr, TURN: gl.constexpr,
):  # fmt: skip
    """Write the adjoint that each chunk alone gives to the chunk before it, and its sum of deltas."""
    s_dt = two_blocks(p_dt, ROWS, WIDTH)
    s_dy = two_blocks(p_dy, ROWS, WIDTH)
    s_z = two_blocks(p_dt, ROWS, WIDTH)
    s_lowC = two_blocks(p_C, ROWS, N)
    s_C = gl.allocate_shared_memory(gl.float32, [ROWS, N], DENSE_2D)
    i_e, i_c, i_b = locate(tiles, chunks)
    E = tiles * WIDTH
    step = E * TURN
    o_e, o_ne, o_en = tile_offsets(i_e * WIDTH, E)
    b_A = gl.load(p_A + o_en).to(gl.float32)
    b_bias = load_row(p_bias, o_e, HAS_BIAS)
    b_q = gl.zeros([N, WIDTH], gl.float32, TILE)
    b_total = gl.zeros([1, WIDTH], gl.float32, TILE)

    t0 = row_of(i_c.to(gl.int64) * T, L, TURN)
    o_rows = (i_b * L + t0) * E + i_e * WIDTH + row_offsets(step, ROWS)
    p_C += (i_b * stride_Cb + t0 * stride_Ct) * 8
    step_C = stride_Ct * TURN
    blocks = gl.minimum(L - i_c * T, T) // ROWS
    i_block = (i_b * L + i_c.to(gl.int64) * T) // ROWS
    b_next = starts_of_block(p_starts, i_block, False, False)
    for i_k in range(-1, blocks):
        b_starts = b_next
        b_next = starts_of_block(p_starts, i_block + blocks - 2 - i_k, i_k + 1 < blocks, HAS_STARTS)
        if i_k + 1 < blocks:
            x = (i_k + 1) % 2
            t = (blocks - 2 - i_k) * ROWS
            fetch_rows(s_dt.index(x), p_dt, o_rows + t * step)
            fetch_rows(s_dy.index(x), p_dy, o_rows + t * step)
            if HAS_Z:
                fetch_rows(s_z.index(x), p_z, o_rows + t * step)
            fetch_states(s_lowC.index(x), p_C + t * step_C * 8, step_C * 8)
        async_copy.commit_group()
        if i_k >= 0:
            async_copy.wait_group(1)
            x = i_k % 2
            widen(s_C, s_lowC.index(x))
            for k in gl.static_range(ROWS - 1, -1, -1):
                b_delta = step_size(row(s_dt.index(x), k), b_bias, SOFTPLUS)
                b_v = row(s_dy.index(x), k)
                if HAS_Z:
                    b_z = row(s_z.index(x), k)
                    b_v *= b_z * sigmoid(b_z, True)
                b_g = column(s_C, k) * b_v + b_q
                b_q = exp2(rate_of(b_delta, b_starts, k, HAS_STARTS) * b_A, True) * b_g
                b_total += b_delta
                if HAS_STARTS:
                    b_total = gl.where(starts_here(b_starts, k), FORGET, b_total)
    i_before = i_b * chunks + (i_c + chunks - 1) % chunks
    gl.store(p_adjoint + i_before * E * N + o_ne, b_q)
    gl.store(p_total + (i_b * chunks + i_c) * E + o_e, b_total)


@gluon.jit
def fetch_block(
    u, dt, dy, z, B, C, p_u, p_dt, p_dy, p_z, o_rows, p_B, p_C, step_B, step_C, HAS_Z: gl.constexpr
):
    """Begin to copy a block of everything that the gradient reads."""
    fetch_rows(u, p_u, o_rows)
    fetch_rows(dt, p_dt, o_rows)
    fetch_rows(dy, p_dy, o_rows)
    if HAS_Z:
        fetch_rows(z, p_z, o_rows)
    fetch_states(B, p_B, step_B * 8)
    fetch_states(C, p_C, step_C * 8)


@kernel
def backward_gradient(
    p_u, p_dt, p_A, p_B, p_C, p_D, p_z, p_bias, p_starts, p_dy, p_state, p_adjoint, p_last,
    p_du, p_ddt, p_dA, p_dB, p_dC, p_dD, p_dz, p_dbias, p_dfirst, p_y,
    stride_Bb, stride_Bt, stride_Cb, stride_Ct, batch, L, tiles, chunks, T, saved, slots, groups,
    SEGMENT: gl.constexpr, HAS_D: gl.constexpr, HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr,
    HAS_STARTS: gl.constexpr, HAS_LAST: gl.constexpr, SOFTPLUS: gl.constexpr, SINGLE: gl.constexpr,
    SAVE_Y: gl.constexpr, TURN: gl.constexpr,
):  # fmt: skip
    """Write every gradient: per position and channel; dB and dC per group; dA, dD, dbias per chunk.

    Arguments as in the Triton kernel. A program owns a group of tiles in one chunk. The first groups, of all
    chunks, begin first: they are the larger ones, and the device is not left waiting for a few of them.
    """
    ROWS: gl.constexpr = 4
    s_u = two_blocks(p_u, ROWS, WIDTH)
    s_dt = two_blocks(p_dt, ROWS, WIDTH)
    s_dy = two_blocks(p_dy, ROWS, WIDTH)
    s_z = two_blocks(p_dt, ROWS, WIDTH)
    s_lowB = two_blocks(p_B, ROWS, N)
    s_lowC = two_blocks(p_C, ROWS, N)
    s_B = gl.allocate_shared_memory(gl.float32, [ROWS, N], DENSE_2D)
    s_C = gl.allocate_shared_memory(gl.float32, [ROWS, N], DENSE_2D)
    s_terms = gl.allocate_shared_memory(gl.float32, [SEGMENT // ROWS, ROWS, WIDTH], DENSE_2D)
    s_quads = gl.allocate_shared_memory(gl.float32, [ROWS, 8, N], DENSE_3D)
    b_routes = routes()
    i_c, i_b, i_g = locate(chunks, batch)
    i_b, i_g = i_b.to(gl.int64), i_g.to(gl.int32)
    E = tiles * WIDTH
    step, step_B, step_C = E * TURN, stride_Bt * TURN, stride_Ct * TURN
    left = gl.minimum(L - i_c * T, T)
    segments = (left + SEGMENT - 1) // SEGMENT
    o_chunk = (i_b * chunks + i_c) * E
    i_first = first_tile(i_g, tiles, groups)
    for i_e in range(i_first, first_tile(i_g + 1, tiles, groups)):
        e0 = i_e * WIDTH
        o_e, o_ne, o_en = tile_offsets(e0, E)
        b_A = gl.load(p_A + o_en).to(gl.float32)
        b_D = load_row(p_D, o_e, HAS_D)
        b_bias = load_row(p_bias, o_e, HAS_BIAS)
        b_q = gl.zeros([N, WIDTH], gl.float32, TILE)
        if SINGLE:
            if HAS_LAST:
                b_q += gl.load(p_last + i_b * E * N + o_en).to(gl.float32)
        else:
            b_q += gl.load(p_adjoint + o_chunk * N + o_ne)
        b_dA = gl.zeros([N, WIDTH], gl.float32, TILE)
        b_dD = gl.zeros([1, WIDTH], gl.float32, TILE)
        b_dbias = gl.zeros([1, WIDTH], gl.float32, TILE)

        for i_r in range(0, segments):
            i_s = segments - 1 - i_r
            blocks = gl.minimum(left - i_s * SEGMENT, SEGMENT) // ROWS
            t0 = row_of(i_c.to(gl.int64) * T + i_s * SEGMENT, L, TURN)
            o_segment = (i_b * L + t0) * E
            o_rows = o_segment + e0 + row_offsets(step, ROWS)
            o_out = o_segment + o_e
            p_Bs = p_B + (i_b * stride_Bb + t0 * stride_Bt) * 8
            p_Cs = p_C + (i_b * stride_Cb + t0 * stride_Ct) * 8
            o_sums = ((i_g * batch + i_b) * L + t0) * N
            p_dBs = p_dB + o_sums
            p_dCs = p_dC + o_sums
            b_h = gl.load(p_state + (i_b * saved + i_c * slots + i_s) * E * N + o_ne)
            b_elapsed = gl.zeros([1, WIDTH], gl.float32, TILE)
            i_block = (i_b * L + i_c.to(gl.int64) * T + i_s * SEGMENT) // ROWS
            b_next = starts_of_block(p_starts, i_block, False, False)
            for i_k in range(-1, blocks):
                b_starts = b_next
                b_next = starts_of_block(p_starts, i_block + i_k + 1, i_k + 1 < blocks, HAS_STARTS)
                if i_k + 1 < blocks:
                    x = (i_k + 1) % 2
                    t = (i_k + 1) * ROWS
                    fetch_block(
                        s_u.index(x), s_dt.index(x), s_dy.index(x), s_z.index(x),
                        s_lowB.index(x), s_lowC.index(x), p_u, p_dt, p_dy, p_z, o_rows + t * step,
                        p_Bs + t * step_B * 8, p_Cs + t * step_C * 8, step_B, step_C, HAS_Z,
                    )  # fmt: skip
                async_copy.commit_group()
                if i_k >= 0:
                    async_copy.wait_group(1)
                    t = i_k * ROWS
                    x = i_k % 2
                    terms = s_terms.index(i_k)
                    widen(s_B, s_lowB.index(x))
                    widen(s_C, s_lowC.index(x))
                    for k in gl.static_range(ROWS):
                        b_C = column(s_C, k)
                        b_u = row(s_u.index(x), k)
                        b_delta = step_size(row(s_dt.index(x), k), b_bias, SOFTPLUS)
                        b_elapsed += b_delta
                        b_dy = row(s_dy.index(x), k)
                        b_v = b_dy
                        if HAS_Z:
                            b_z = row(s_z.index(x), k)
                            b_sigma = sigmoid(b_z, True)
                            b_v *= b_z * b_sigma
                        b_decayed = exp2(rate_of(b_delta, b_starts, k, HAS_STARTS) * b_A, True) * b_h
                        b_Ch = b_C * b_decayed
                        terms.slice(k, 1, dim=0).store(add_states(b_Ch * b_A) * b_v)
                        b_dA += b_Ch * (b_v * b_elapsed)
                        b_h = (b_delta * b_u) * column(s_B, k) + b_decayed
                        s_quads.slice(k, 1, dim=0).store(add_quads(b_h * b_v, b_routes))
                        if HAS_Z or SAVE_Y:
                            b_y = add_states(b_h * b_C) + b_D * b_u
                        if HAS_Z:
                            b_dz = b_dy * b_y * b_sigma * (1.0 + b_z * (1.0 - b_sigma))
                            gl.store(p_dz + o_out + (t + k) * step, b_dz.to(p_dz.dtype.element_ty))
                        if SAVE_Y:
                            if HAS_Z:
                                b_y *= b_z * b_sigma
                            gl.store(p_y + o_out + (t + k) * step, b_y.to(p_y.dtype.element_ty))
                    store_sums(p_dCs + t * (N * TURN), s_quads, i_e > i_first, TURN)

            b_qh = b_q * b_h
            b_dA += b_qh * b_elapsed
            b_p = add_states(b_qh * b_A)
            b_next = starts_of_block(p_starts, i_block, False, False)
            for i_k in range(-1, blocks):
                b_starts = b_next
                i_next = i_block + blocks - 2 - i_k
                b_next = starts_of_block(p_starts, i_next, i_k + 1 < blocks, HAS_STARTS)
                if i_k + 1 < blocks:
                    x = (i_k + 1) % 2
                    t = (blocks - 2 - i_k) * ROWS
                    fetch_block(
                        s_u.index(x), s_dt.index(x), s_dy.index(x), s_z.index(x),
                        s_lowB.index(x), s_lowC.index(x), p_u, p_dt, p_dy, p_z, o_rows + t * step,
                        p_Bs + t * step_B * 8, p_Cs + t * step_C * 8, step_B, step_C, HAS_Z,
                    )  # fmt: skip
                async_copy.commit_group()
                if i_k >= 0:
                    async_copy.wait_group(1)
                    t = (blocks - 1 - i_k) * ROWS
                    x = i_k % 2
                    terms = s_terms.index(blocks - 1 - i_k)
                    widen(s_B, s_lowB.index(x))
                    widen(s_C, s_lowC.index(x))
                    for k in gl.static_range(ROWS - 1, -1, -1):
                        b_B = column(s_B, k)
                        b_u = row(s_u.index(x), k)
                        b_dt = row(s_dt.index(x), k)
                        b_delta = step_size(b_dt, b_bias, SOFTPLUS)
                        b_x = b_delta * b_u
                        b_v = row(s_dy.index(x), k)
                        if HAS_Z:
                            b_z = row(s_z.index(x), k)
                            b_v *= b_z * sigmoid(b_z, True)
                        b_Bq = b_B * b_q
                        b_p += terms.slice(k, 1, dim=0).load(TILE) - add_states(b_Bq * b_A) * b_x
                        b_dA -= b_Bq * (b_x * b_elapsed)
                        b_elapsed -= b_delta
                        b_g = column(s_C, k) * b_v + b_q
                        s_quads.slice(k, 1, dim=0).store(add_quads(b_g * b_x, b_routes))
                        b_gB = add_states(b_g * b_B)
                        b_q = exp2(rate_of(b_delta, b_starts, k, HAS_STARTS) * b_A, True) * b_g
                        if HAS_STARTS:  # as it is but for rounding
                            b_p = gl.where(starts_here(b_starts, k), 0.0, b_p)
                        b_du = b_gB * b_delta
                        if HAS_D:
                            b_du += b_D * b_v
                            b_dD += b_u * b_v
                        gl.store(p_du + o_out + (t + k) * step, b_du.to(p_du.dtype.element_ty))
                        b_ddt = b_gB * b_u + b_p
                        if SOFTPLUS:
                            b_ddt *= sigmoid(b_dt + b_bias, True)
                        gl.store(p_ddt + o_out + (t + k) * step, b_ddt.to(p_ddt.dtype.element_ty))
                        if HAS_BIAS:
                            b_dbias += b_ddt
                    store_sums(p_dBs + t * (N * TURN), s_quads, i_e > i_first, TURN)

        gl.store(p_dA + o_chunk * N + o_ne, b_dA)
        if HAS_D:
            gl.store(p_dD + o_chunk + o_e, b_dD)
        if HAS_BIAS:
            gl.store(p_dbias + o_chunk + o_e, b_dbias)
        if i_c == 0:
            gl.store(p_dfirst + i_b * E * N + o_ne, b_q)
