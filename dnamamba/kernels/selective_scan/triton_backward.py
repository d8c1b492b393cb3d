# The bodies are Triton's language: tuples grow by +, ranges have two ends.
# ruff: noqa: RUF005, PIE808
# mypy: ignore-errors
"""Backward kernels of the selective scan.

With g[t] the gradient of h[t] and q[t] = exp(delta[t] A) g[t] what step t passes back to step t-1
(v[t] = dy[t] silu(z[t]) is the gradient of the ungated output; sums run over n or e as the shapes ask):

    g[t]      = C[t] v[t] + q[t+1]
    dC[t]     = sum_e h[t] v[t]                 dB[t] = sum_e g[t] delta[t] u[t]
    ddelta[t] = sum_n g[t] B[t] u[t] + A p[t]      dA = sum_t p[t] delta[t]       p[t] = q[t] h[t-1]
    du[t]     = sum_n g[t] B[t] delta[t] + D v[t]  dD = sum_t u[t] v[t]
    dz[t]     = dy[t] (sum_n C[t] h[t] + D u[t]) silu'(z[t])

g runs backward as h runs forward, and is cut the same way: `backward_summary`, then `carry` in reverse, then
`backward_gradient`. Only p needs h and g of one step together. But p telescopes: q[t] h[t-1] and q[t+1] h[t]
differ by what step t puts in,

    p[t] = p[t+1] + C[t] v[t] (exp(delta[t] A) h[t-1]) - q[t+1] (delta[t] B[t] u[t])

with one term that needs only h and one that needs only q. So a segment is swept forward once, from its
saved state, and backward once; between them pass one number a step and channel: the term of h, summed over n
with A. p starts from q h at the end of every window of WINDOW steps, which bounds what rounding can gather
(in fp32, windows of 4 err like a scan that keeps every state, windows of 64 five times as much);
summed by parts, dA becomes a sum of the same two terms weighted by the delta elapsed since the window began.

Every sum has one owner and one order, so that gradients are the same bit for bit on every run: no two
programs add to one address, and deterministic mode needs no other path.
"""

import triton
import triton.language as tl

from dnamamba.kernels.triton_math import FORGET, LOG2E, exp2, load_rows, sigmoid, starts_at, turned

from .triton_forward import locate, step_size
from .triton_sums import store_sums, sum_rows


@triton.jit(do_not_specialize_on_alignment=["p_A", "p_adjoint"])
def backward_summary(
    p_dt, p_A, p_C, p_z, p_bias, p_starts, p_dy, p_adjoint, p_total,
    stride_db, stride_dt, stride_Cb, stride_Ct, stride_zb, stride_zt, stride_yb, stride_yt,
    L, E, tiles, chunks, T,
    N: tl.constexpr, TILE: tl.constexpr, STEPS: tl.constexpr,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_STARTS: tl.constexpr,
    SOFTPLUS: tl.constexpr, EVEN: tl.constexpr, FAST: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    """Write the adjoint that each chunk alone gives to the chunk before it, and its sum of deltas.

    That of the first chunk goes where the last one looks, which is nobody's.
    """
    i_e, i_c, i_b = locate(tl.program_id(0), tiles, chunks)
    o_e = i_e * TILE + tl.arange(0, TILE)
    o_n = tl.arange(0, N)
    m_e = o_e < E
    m_n = o_n < N
    o_ne = o_n[:, None] * E + o_e[None, :]
    b_A = tl.load(p_A + o_ne, mask=m_e[None, :], other=0.0).to(tl.float32)
    b_bias = tl.zeros([TILE], tl.float32)
    if HAS_BIAS:
        b_bias += tl.load(p_bias + o_e, mask=m_e, other=0.0).to(tl.float32)

    p_dt, stride_dt = turned(p_dt, stride_dt, L, TURN)
    p_C, stride_Ct = turned(p_C, stride_Ct, L, TURN)
    p_dy, stride_yt = turned(p_dy, stride_yt, L, TURN)
    if HAS_Z:
        p_z, stride_zt = turned(p_z, stride_zt, L, TURN)
    b_q = tl.zeros([N, TILE], tl.float32)
    b_total = tl.zeros([TILE], tl.float32)
    left = tl.minimum(L - i_c * T, T)
    blocks = (left + STEPS - 1) // STEPS
    t0 = i_c.to(tl.int64) * T + (blocks - 1) * STEPS
    p_dt += i_b * stride_db + t0 * stride_dt
    p_C += i_b * stride_Cb + t0 * stride_Ct
    p_dy += i_b * stride_yb + t0 * stride_yt
    rows = left - (blocks - 1) * STEPS
    dt = load_rows(p_dt, stride_dt, o_e, m_e, rows, STEPS, EVEN)
    dy = load_rows(p_dy, stride_yt, o_e, m_e, rows, STEPS, EVEN)
    z = dy
    if HAS_Z:
        p_z += i_b * stride_zb + t0 * stride_zt
        z = load_rows(p_z, stride_zt, o_e, m_e, rows, STEPS, EVEN)
    for i_r in range(0, blocks):
        C = load_rows(p_C, stride_Ct, o_n, m_n, left - (blocks - 1 - i_r) * STEPS, STEPS, EVEN)
        if HAS_STARTS:
            t = (blocks - 1 - i_r) * STEPS
            starts = starts_at(p_starts + i_b * L + i_c.to(tl.int64) * T + t, left - t, STEPS, EVEN)
        p_dt -= STEPS * stride_dt
        p_dy -= STEPS * stride_yt
        more = tl.where(i_r + 1 < blocks, STEPS, 0)
        next_dt = load_rows(p_dt, stride_dt, o_e, m_e, more, STEPS, False)
        next_dy = load_rows(p_dy, stride_yt, o_e, m_e, more, STEPS, False)
        next_z = next_dy
        if HAS_Z:
            p_z -= STEPS * stride_zt
            next_z = load_rows(p_z, stride_zt, o_e, m_e, more, STEPS, False)
        for k in tl.static_range(STEPS - 1, -1, -1):
            m_t = (blocks - 1 - i_r) * STEPS + k < left
            b_delta = step_size(dt[k], b_bias, m_t, SOFTPLUS, EVEN, FAST)
            b_v = dy[k].to(tl.float32)
            if HAS_Z:
                b_z = z[k].to(tl.float32)
                b_v *= b_z * sigmoid(b_z, FAST)
            b_g = C[k].to(tl.float32)[:, None] * b_v[None, :] + b_q
            b_total += b_delta
            b_rate = b_delta * LOG2E
            if HAS_STARTS:
                b_rate = tl.where(starts[k], FORGET, b_rate)
                b_total = tl.where(starts[k], FORGET, b_total)
            b_q = exp2(b_rate[None, :] * b_A, FAST) * b_g
        p_C -= STEPS * stride_Ct
        dt, dy, z = next_dt, next_dy, next_z
    i_before = i_b * chunks + (i_c + chunks - 1) % chunks
    tl.store(p_adjoint + i_before * E * N + o_ne, b_q, mask=m_e[None, :])
    tl.store(p_total + (i_b * chunks + i_c) * E + o_e, b_total, mask=m_e)


@triton.jit
def first_tile(i_g, tiles, groups):
    """Return a group's first tile; the first groups have one tile more if the number is not even."""
    return i_g * (tiles // groups) + tl.minimum(i_g, tiles % groups)


@triton.jit(
    do_not_specialize_on_alignment=["p_A", "p_state", "p_adjoint", "p_last", "p_scratch", "p_dA", "p_dfirst"]
)
def backward_gradient(
    p_u, p_dt, p_A, p_B, p_C, p_D, p_z, p_bias, p_starts, p_dy, p_state, p_adjoint, p_last, p_scratch,
    p_du, p_ddt, p_dA, p_dB, p_dC, p_dD, p_dz, p_dbias, p_dfirst, p_y,
    stride_ub, stride_ut, stride_db, stride_dt, stride_Bb, stride_Bt,
    stride_Cb, stride_Ct, stride_zb, stride_zt, stride_yb, stride_yt,
    batch, L, E, tiles, chunks, T, saved, slots, groups,
    N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr, WINDOW: tl.constexpr,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_STARTS: tl.constexpr,
    HAS_LAST: tl.constexpr,
    SOFTPLUS: tl.constexpr, SINGLE: tl.constexpr, SAVE_Y: tl.constexpr,
    EVEN: tl.constexpr, FAST: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    """Write every gradient: per position and channel; dB and dC per group; dA, dD, dbias per chunk.

    `p_adjoint` holds q behind every chunk (read where not SINGLE), `p_last` the gradient of the last state
    (read where SINGLE). `p_dA` may be `p_adjoint`: each tile is read before it is written. If SAVE_Y the
    forward's y is written again, for a caller that did not keep it.
    """
    p_u, stride_ut = turned(p_u, stride_ut, L, TURN)
    p_dt, stride_dt = turned(p_dt, stride_dt, L, TURN)
    p_B, stride_Bt = turned(p_B, stride_Bt, L, TURN)
    p_C, stride_Ct = turned(p_C, stride_Ct, L, TURN)
    p_dy, stride_yt = turned(p_dy, stride_yt, L, TURN)
    if HAS_Z:
        p_z, stride_zt = turned(p_z, stride_zt, L, TURN)
        p_dz, _ = turned(p_dz, E, L, TURN)
    if SAVE_Y:
        p_y, _ = turned(p_y, E, L, TURN)
    p_du, step = turned(p_du, E, L, TURN)
    p_ddt, _ = turned(p_ddt, E, L, TURN)
    p_dB, _ = turned(p_dB, N, L, TURN)
    p_dC, _ = turned(p_dC, N, L, TURN)
    o_tile = tl.arange(0, TILE)
    o_n = tl.arange(0, N)
    m_n = o_n < N
    o_row = sum_rows(N, TILE)
    # Of a segment: a number for every step and channel; for every window, its elapsed delta and last state.
    p_terms = p_scratch + tl.program_id(0).to(tl.int64) * (SEGMENT + SEGMENT // WINDOW * (N + 1)) * TILE
    p_windows = p_terms + SEGMENT * TILE + o_tile
    for i_w in range(tl.program_id(0), batch * chunks * groups, tl.num_programs(0)):
        # The first groups are the larger ones: they come first.
        i_c, i_b, i_g = locate(i_w, chunks, batch)
        i_b, i_g = i_b.to(tl.int64), i_g.to(tl.int32)
        left = tl.minimum(L - i_c * T, T)
        segments = (left + SEGMENT - 1) // SEGMENT
        i_first = first_tile(i_g, tiles, groups)
        for i_e in range(i_first, first_tile(i_g + 1, tiles, groups)):
            o_e = i_e * TILE + o_tile
            m_e = o_e < E
            o_ne = o_n[:, None] * E + o_e[None, :]
            o_chunk = (i_b * chunks + i_c) * E
            b_A = tl.load(p_A + o_ne, mask=m_e[None, :], other=0.0).to(tl.float32)
            b_D = tl.zeros([TILE], tl.float32)
            if HAS_D:
                b_D += tl.load(p_D + o_e, mask=m_e, other=0.0).to(tl.float32)
            b_bias = tl.zeros([TILE], tl.float32)
            if HAS_BIAS:
                b_bias += tl.load(p_bias + o_e, mask=m_e, other=0.0).to(tl.float32)
            b_q = tl.zeros([N, TILE], tl.float32)
            if SINGLE:
                if HAS_LAST:
                    b_q += tl.load(p_last + i_b * E * N + o_ne, mask=m_e[None, :], other=0.0).to(tl.float32)
            else:
                b_q += tl.load(p_adjoint + o_chunk * N + o_ne, mask=m_e[None, :], other=0.0)
            b_dA = tl.zeros([N, TILE], tl.float32)
            b_dD = tl.zeros([TILE], tl.float32)
            b_dbias = tl.zeros([TILE], tl.float32)

            for i_r in range(0, segments):
                i_s = segments - 1 - i_r
                rows = left - i_s * SEGMENT
                t0 = i_c.to(tl.int64) * T + i_s * SEGMENT
                p_us = p_u + i_b * stride_ub + t0 * stride_ut
                p_ds = p_dt + i_b * stride_db + t0 * stride_dt
                p_Bs = p_B + i_b * stride_Bb + t0 * stride_Bt
                p_Cs = p_C + i_b * stride_Cb + t0 * stride_Ct
                p_dys = p_dy + i_b * stride_yb + t0 * stride_yt
                o_out = i_b * L * E + t0 * step
                p_dus = p_du + o_out
                p_ddts = p_ddt + o_out
                if HAS_Z:
                    p_zs = p_z + i_b * stride_zb + t0 * stride_zt
                    p_dzs = p_dz + o_out
                if SAVE_Y:
                    p_yout = p_y + o_out
                o_sums = (i_g * batch + i_b) * L * N + t0 * N * TURN
                p_dBs = p_dB + o_sums
                p_dCs = p_dC + o_sums
                p_h = p_state + (i_b * saved + i_c * slots + i_s) * E * N
                b_h = tl.load(p_h + o_ne, mask=m_e[None, :], other=0.0)
                for i_v in range(0, SEGMENT // WINDOW):
                    b_elapsed = tl.zeros([TILE], tl.float32)
                    for t in range(i_v * WINDOW, (i_v + 1) * WINDOW, 2):
                        u = load_rows(p_us + t * stride_ut, stride_ut, o_e, m_e, rows - t, 2, EVEN)
                        dt = load_rows(p_ds + t * stride_dt, stride_dt, o_e, m_e, rows - t, 2, EVEN)
                        B = load_rows(p_Bs + t * stride_Bt, stride_Bt, o_n, m_n, rows - t, 2, EVEN)
                        C = load_rows(p_Cs + t * stride_Ct, stride_Ct, o_n, m_n, rows - t, 2, EVEN)
                        dy = load_rows(p_dys + t * stride_yt, stride_yt, o_e, m_e, rows - t, 2, EVEN)
                        if HAS_Z:
                            z = load_rows(p_zs + t * stride_zt, stride_zt, o_e, m_e, rows - t, 2, EVEN)
                        if HAS_STARTS:
                            starts = starts_at(p_starts + i_b * L + t0 + t, rows - t, 2, EVEN)
                        hv = ()
                        for k in tl.static_range(2):
                            m_t = m_e & (t + k < rows)
                            o_te = (t + k) * step + o_e
                            b_delta = step_size(dt[k], b_bias, t + k < rows, SOFTPLUS, EVEN, FAST)
                            b_elapsed += b_delta
                            b_u = u[k].to(tl.float32)
                            b_C = C[k].to(tl.float32)
                            b_v = dy[k].to(tl.float32)
                            if HAS_Z:
                                b_z = z[k].to(tl.float32)
                                b_sigma = sigmoid(b_z, FAST)
                                b_v *= b_z * b_sigma
                            b_rate = b_delta * LOG2E
                            if HAS_STARTS:
                                b_rate = tl.where(starts[k], FORGET, b_rate)
                            b_decayed = exp2(b_rate[None, :] * b_A, FAST) * b_h
                            b_Ch = b_C[:, None] * b_decayed
                            tl.store(p_terms + (t + k) * TILE + o_tile, tl.sum(b_Ch * b_A, axis=0) * b_v)
                            b_dA += b_Ch * (b_v * b_elapsed)[None, :]
                            b_h = (b_delta * b_u)[None, :] * B[k].to(tl.float32)[:, None] + b_decayed
                            hv = hv + (b_h * b_v[None, :],)
                            if HAS_Z or SAVE_Y:
                                b_y = tl.sum(b_h * b_C[:, None], axis=0) + b_D * b_u
                            if HAS_Z:
                                b_dz = dy[k].to(tl.float32) * b_y * b_sigma * (1.0 + b_z * (1.0 - b_sigma))
                                tl.store(p_dzs + o_te, b_dz.to(p_dz.dtype.element_ty), mask=m_t)
                            if SAVE_Y:
                                if HAS_Z:
                                    b_y *= b_z * b_sigma
                                tl.store(p_yout + o_te, b_y.to(p_y.dtype.element_ty), mask=m_t)
                        store_sums(p_dCs + t * N * TURN, hv[0], hv[1], o_row, rows - t, i_e > i_first, TURN)
                    p_window = p_windows + i_v * (N + 1) * TILE
                    tl.store(p_window, b_elapsed)
                    tl.store(p_window + (o_n[:, None] + 1) * TILE, b_h)
                # One thread writes and reads any one place of the scratch, but the compiler need not know.
                tl.debug_barrier()

                for i_x in range(0, SEGMENT // WINDOW):
                    i_v = SEGMENT // WINDOW - 1 - i_x
                    p_window = p_windows + i_v * (N + 1) * TILE
                    b_elapsed = tl.load(p_window)
                    b_qh = b_q * tl.load(p_window + (o_n[:, None] + 1) * TILE)
                    b_dA += b_qh * b_elapsed[None, :]
                    b_p = tl.sum(b_qh * b_A, axis=0)
                    for i_t in range(0, WINDOW, 2):
                        t = (i_v + 1) * WINDOW - 2 - i_t
                        u = load_rows(p_us + t * stride_ut, stride_ut, o_e, m_e, rows - t, 2, EVEN)
                        dt = load_rows(p_ds + t * stride_dt, stride_dt, o_e, m_e, rows - t, 2, EVEN)
                        B = load_rows(p_Bs + t * stride_Bt, stride_Bt, o_n, m_n, rows - t, 2, EVEN)
                        C = load_rows(p_Cs + t * stride_Ct, stride_Ct, o_n, m_n, rows - t, 2, EVEN)
                        dy = load_rows(p_dys + t * stride_yt, stride_yt, o_e, m_e, rows - t, 2, EVEN)
                        if HAS_Z:
                            z = load_rows(p_zs + t * stride_zt, stride_zt, o_e, m_e, rows - t, 2, EVEN)
                        terms = load_rows(p_terms + t * TILE, TILE, o_tile, o_tile >= 0, 2, 2, True)
                        if HAS_STARTS:
                            starts = starts_at(p_starts + i_b * L + t0 + t, rows - t, 2, EVEN)
                        gx = ()
                        for k in tl.static_range(1, -1, -1):
                            m_t = m_e & (t + k < rows)
                            o_te = (t + k) * step + o_e
                            b_delta = step_size(dt[k], b_bias, t + k < rows, SOFTPLUS, EVEN, FAST)
                            b_u = u[k].to(tl.float32)
                            b_x = b_delta * b_u
                            b_B = B[k].to(tl.float32)
                            b_v = dy[k].to(tl.float32)
                            if HAS_Z:
                                b_z = z[k].to(tl.float32)
                                b_v *= b_z * sigmoid(b_z, FAST)
                            b_Bq = b_B[:, None] * b_q
                            b_p += terms[k] - tl.sum(b_Bq * b_A, axis=0) * b_x
                            b_dA -= b_Bq * (b_x * b_elapsed)[None, :]
                            b_elapsed -= b_delta
                            b_g = C[k].to(tl.float32)[:, None] * b_v[None, :] + b_q
                            gx = gx + (b_g * b_x[None, :],)
                            b_gB = tl.sum(b_g * b_B[:, None], axis=0)
                            b_rate = b_delta * LOG2E
                            if HAS_STARTS:
                                b_rate = tl.where(starts[k], FORGET, b_rate)
                                b_p = tl.where(starts[k], 0.0, b_p)  # as it is but for rounding
                            b_q = exp2(b_rate[None, :] * b_A, FAST) * b_g
                            b_du = b_gB * b_delta
                            if HAS_D:
                                b_du += b_D * b_v
                                b_dD += b_u * b_v
                            tl.store(p_dus + o_te, b_du.to(p_du.dtype.element_ty), mask=m_t)
                            b_ddt = b_gB * b_u + b_p
                            if SOFTPLUS:
                                b_ddt *= sigmoid(dt[k].to(tl.float32) + b_bias, FAST)
                            tl.store(p_ddts + o_te, b_ddt.to(p_ddt.dtype.element_ty), mask=m_t)
                            if HAS_BIAS:
                                b_dbias += b_ddt if EVEN else tl.where(m_t, b_ddt, 0.0)
                        store_sums(p_dBs + t * N * TURN, gx[1], gx[0], o_row, rows - t, i_e > i_first, TURN)
                # The next segment, or the next tile, writes where this one has read.
                tl.debug_barrier()

            tl.store(p_dA + o_chunk * N + o_ne, b_dA, mask=m_e[None, :])
            if HAS_D:
                tl.store(p_dD + o_chunk + o_e, b_dD, mask=m_e)
            if HAS_BIAS:
                tl.store(p_dbias + o_chunk + o_e, b_dbias, mask=m_e)
            if i_c == 0:
                tl.store(p_dfirst + i_b * E * N + o_ne, b_q, mask=m_e[None, :])
