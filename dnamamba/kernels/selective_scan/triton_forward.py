# The bodies are Triton's language: tuples grow by +, ranges have two ends, a constexpr branch needs its else.
# ruff: noqa: PIE808
# mypy: ignore-errors
"""Forward kernels of the selective scan.

For every channel e and state n, with delta[t] = softplus(dt[t] + dt_bias):

    h[t] = exp(delta[t] A) h[t-1] + delta[t] B[t] u[t]
    y[t] = (sum over n of C[t] h[t] + D u[t]) silu(z[t])

A program is one warp that holds a tile of states x channels in registers and loops over time. Where B x E
alone does not fill the device, L is cut into chunks that run at the same time. The state after a chunk is
linear in the one it receives, `decay h + drive`, so that three kernels do it:

    forward_summary   each chunk from a zero state: its drive, and the sum of its deltas (decay = exp(A sum))
    carry             the states before every chunk, by one scan over the summaries
    forward_output    each chunk again, from its true state: y, and a saved state before every SEGMENT-th step

The first `long` chunks have T positions, those after them SEGMENT: the forward ends with short programs.

Every exponential is an exp2 of delta log2(e) A. log2(e) goes with delta: its rounding then differs from step
to step, where that of A log2(e) would add up.

A tile of [N, TILE] has a channel in each lane and that channel's states in the lane's registers: no value
moves between lanes, and every load of a row of u, dt, z or y is one access of the warp. The compiler chooses
that layout as long as no tile of [N, E] in memory can be read in wider accesses, so pointers to such tiles
are not specialised on alignment.

With TURN = -1 a sequence is read from its end. Chunks, segments and their states then count from there.

With HAS_STARTS a row holds sequences, one behind the other. At a start the decay is that of a step of size
FORGET, which is 0; a chunk with a start has FORGET as its sum of deltas.
"""

import triton
import triton.language as tl

from dnamamba.kernels.triton_math import FORGET, LOG2E, exp2, load_rows, sigmoid, softplus, starts_at, turned


@triton.jit
def locate(i_p, tiles, chunks):
    """Turn a program's number into (tile, chunk, batch row), the first changing fastest."""
    return i_p % tiles, (i_p // tiles) % chunks, (i_p // tiles // chunks).to(tl.int64)


@triton.jit
def locate_forward(i_p, tiles, batch):
    """Locate as `locate` does, but with the chunk changing slowest: the short, last chunks begin last."""
    return i_p % tiles, i_p // tiles // batch, ((i_p // tiles) % batch).to(tl.int64)


@triton.jit
def place(i_c, long, size, short):
    """Return the positions before chunk i_c: the first `long` chunks have `size` each, the others `short`."""
    return i_c * size - tl.maximum(i_c - long, 0) * (size - short)


@triton.jit
def step_size(b_dt, b_bias, m_t, SOFTPLUS: tl.constexpr, EVEN: tl.constexpr, FAST: tl.constexpr):
    """Return delta of one step; it is zero outside the sequence, where the state must not change."""
    b_delta = b_dt.to(tl.float32) + b_bias
    if SOFTPLUS:
        b_delta = softplus(b_delta, FAST)
    if not EVEN:
        b_delta = tl.where(m_t, b_delta, 0.0)
    return b_delta


@triton.jit(do_not_specialize_on_alignment=["p_A", "p_state"])
def forward_summary(
    p_u, p_dt, p_A, p_B, p_bias, p_starts, p_state, p_total,
    stride_ub, stride_ut, stride_db, stride_dt, stride_Bb, stride_Bt,
    batch, L, E, tiles, chunks, long, T, saved, slots,
    N: tl.constexpr, TILE: tl.constexpr, STEPS: tl.constexpr, SEGMENT: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_STARTS: tl.constexpr, SOFTPLUS: tl.constexpr, EVEN: tl.constexpr,
    FAST: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    """Write each chunk's drive where the next chunk's first state goes, and its sum of deltas.

    That of the last chunk goes where the first one's state goes, which is nobody's drive.
    """
    i_e, i_c, i_b = locate_forward(tl.program_id(0), tiles, batch)
    o_e = i_e * TILE + tl.arange(0, TILE)
    o_n = tl.arange(0, N)
    m_e = o_e < E
    m_n = o_n < N
    o_ne = o_n[:, None] * E + o_e[None, :]
    b_A = tl.load(p_A + o_ne, mask=m_e[None, :], other=0.0).to(tl.float32)
    b_bias = tl.zeros([TILE], tl.float32)
    if HAS_BIAS:
        b_bias += tl.load(p_bias + o_e, mask=m_e, other=0.0).to(tl.float32)

    p_u, stride_ut = turned(p_u, stride_ut, L, TURN)
    p_dt, stride_dt = turned(p_dt, stride_dt, L, TURN)
    p_B, stride_Bt = turned(p_B, stride_Bt, L, TURN)
    b_h = tl.zeros([N, TILE], tl.float32)
    b_total = tl.zeros([TILE], tl.float32)
    first = place(i_c, long, T, SEGMENT)
    left = tl.minimum(L - first, place(i_c + 1, long, T, SEGMENT) - first)
    for i_s in range(0, (left + SEGMENT - 1) // SEGMENT):
        t0 = (first + i_s * SEGMENT).to(tl.int64)
        p_us = p_u + i_b * stride_ub + t0 * stride_ut
        p_ds = p_dt + i_b * stride_db + t0 * stride_dt
        p_Bs = p_B + i_b * stride_Bb + t0 * stride_Bt
        span = SEGMENT if EVEN else tl.minimum(SEGMENT, left - i_s * SEGMENT)
        for t in range(0, span, STEPS):
            steps = left - i_s * SEGMENT - t
            u = load_rows(p_us + t * stride_ut, stride_ut, o_e, m_e, steps, STEPS, EVEN)
            dt = load_rows(p_ds + t * stride_dt, stride_dt, o_e, m_e, steps, STEPS, EVEN)
            B = load_rows(p_Bs + t * stride_Bt, stride_Bt, o_n, m_n, steps, STEPS, EVEN)
            if HAS_STARTS:
                starts = starts_at(p_starts + i_b * L + t0 + t, steps, STEPS, EVEN)
            for k in tl.static_range(STEPS):
                b_delta = step_size(dt[k], b_bias, k < steps, SOFTPLUS, EVEN, FAST)
                b_drive = (b_delta * u[k].to(tl.float32))[None, :] * B[k].to(tl.float32)[:, None]
                b_total += b_delta
                b_rate = b_delta * LOG2E
                if HAS_STARTS:
                    b_rate = tl.where(starts[k], FORGET, b_rate)
                    b_total = tl.where(starts[k], FORGET, b_total)
                b_h = exp2(b_rate[None, :] * b_A, FAST) * b_h + b_drive
    i_next = i_b * saved + place((i_c + 1) % chunks, long, slots, 1)
    tl.store(p_state + i_next * E * N + o_ne, b_h, mask=m_e[None, :])
    tl.store(p_total + (i_b * chunks + i_c) * E + o_e, b_total, mask=m_e)


@triton.jit
def compose(decay_1, drive_1, decay_2, drive_2):
    """Compose two maps h -> decay h + drive, first 1 and then 2."""
    return decay_1 * decay_2, drive_1 * decay_2 + drive_2


@triton.jit
def fetch_summaries(
    i_r, p_total, p_state, o_e, o_col, m_col, E, rows, chunks, long, slots,
    N: tl.constexpr, ROWS: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """Load rows i_r to i_r + ROWS of the carry's scan: sums of delta, drives, and where their states go.

    There are as many `rows` as chunks, or one more, for what comes after them all.
    """
    o_r = i_r + tl.arange(0, ROWS)
    m_drive = ((o_r > 0) & (o_r < rows))[:, None] & m_col[None, :]
    i_from = chunks - o_r if REVERSE else o_r - 1
    i_here = (2 * chunks - 1 - o_r if REVERSE else o_r) % chunks
    b_total = tl.load(p_total + (i_from.to(tl.int64) * E)[:, None] + o_e[None, :], mask=m_drive, other=0.0)
    p_rows = p_state + (place(i_here, long, slots, 1).to(tl.int64) * E * N)[:, None] + o_col[None, :]
    b_drive = tl.load(p_rows, mask=m_drive, other=0.0)
    return b_total, b_drive, p_rows, (o_r < rows)[:, None] & m_col[None, :]


@triton.jit
def carry(
    p_A, p_total, p_first, p_state, stride_e, stride_n, E, chunks, long, saved, slots,
    N: tl.constexpr, COLS: tl.constexpr, ROWS: tl.constexpr, HAS_FIRST: tl.constexpr,
    REVERSE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Turn the drives in `p_state` into states, in place; a program owns COLS of the N x E columns.

    Row i of the scan is chunk i, or the i-th from the end if REVERSE; row 0 is the given first state. The
    state of row i follows from row i-1 through that chunk's decay. A and the first state are [E, N] with the
    same two strides. The next rows are on their way while these are scanned.
    """
    i_b = tl.program_id(1).to(tl.int64)
    o_col = tl.program_id(0) * COLS + tl.arange(0, COLS)
    m_col = o_col < E * N
    o_e = o_col % E
    o_en = o_e * stride_e + o_col // E * stride_n
    b_A = tl.load(p_A + o_en, mask=m_col, other=0.0).to(tl.float32)
    b_carry = tl.zeros([COLS], tl.float32)
    if HAS_FIRST:
        b_carry += tl.load(p_first + i_b * E * N + o_en, mask=m_col, other=0.0).to(tl.float32)
    p_total += i_b * chunks * E
    p_state += i_b * saved * E * N
    b_total, b_drive, p_rows, m_rows = fetch_summaries(
        0, p_total, p_state, o_e, o_col, m_col, E, chunks, chunks, long, slots, N, ROWS, REVERSE
    )
    for i_r in range(0, chunks, ROWS):
        b_next_total, b_next_drive, p_next_rows, m_next_rows = fetch_summaries(
            i_r + ROWS, p_total, p_state, o_e, o_col, m_col, E, chunks, chunks, long, slots, N, ROWS, REVERSE
        )
        b_decay, b_h = tl.associative_scan((exp2(b_total * LOG2E * b_A[None, :], FAST), b_drive), 0, compose)
        b_h += b_decay * b_carry[None, :]
        tl.store(p_rows, b_h, mask=m_rows)
        b_carry = tl.sum(tl.where((tl.arange(0, ROWS) == ROWS - 1)[:, None], b_h, 0.0), axis=0)
        b_total, b_drive, p_rows, m_rows = b_next_total, b_next_drive, p_next_rows, m_next_rows


@triton.jit(do_not_specialize_on_alignment=["p_A", "p_first", "p_state", "p_last"])
def forward_output(
    p_u, p_dt, p_A, p_B, p_C, p_D, p_z, p_bias, p_starts, p_first, p_state, p_y, p_last,
    stride_ub, stride_ut, stride_db, stride_dt, stride_Bb, stride_Bt,
    stride_Cb, stride_Ct, stride_zb, stride_zt,
    batch, L, E, tiles, chunks, long, T, saved, slots,
    N: tl.constexpr, TILE: tl.constexpr, STEPS: tl.constexpr, SEGMENT: tl.constexpr,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_STARTS: tl.constexpr,
    HAS_FIRST: tl.constexpr,
    SOFTPLUS: tl.constexpr, SINGLE: tl.constexpr, SAVE: tl.constexpr, EVEN: tl.constexpr, FAST: tl.constexpr,
    TURN: tl.constexpr,
):  # fmt: skip
    """Write y, the state before every segment (if SAVE), and the last state."""
    i_e, i_c, i_b = locate_forward(tl.program_id(0), tiles, batch)
    o_e = i_e * TILE + tl.arange(0, TILE)
    o_n = tl.arange(0, N)
    m_e = o_e < E
    m_n = o_n < N
    o_ne = o_n[:, None] * E + o_e[None, :]
    b_A = tl.load(p_A + o_ne, mask=m_e[None, :], other=0.0).to(tl.float32)
    b_D = tl.zeros([TILE], tl.float32)
    if HAS_D:
        b_D += tl.load(p_D + o_e, mask=m_e, other=0.0).to(tl.float32)
    b_bias = tl.zeros([TILE], tl.float32)
    if HAS_BIAS:
        b_bias += tl.load(p_bias + o_e, mask=m_e, other=0.0).to(tl.float32)

    p_u, stride_ut = turned(p_u, stride_ut, L, TURN)
    p_dt, stride_dt = turned(p_dt, stride_dt, L, TURN)
    p_B, stride_Bt = turned(p_B, stride_Bt, L, TURN)
    p_C, stride_Ct = turned(p_C, stride_Ct, L, TURN)
    if HAS_Z:
        p_z, stride_zt = turned(p_z, stride_zt, L, TURN)
    p_y, step = turned(p_y, E, L, TURN)
    i_first = i_b * saved + place(i_c, long, slots, 1)
    b_h = tl.zeros([N, TILE], tl.float32)
    if SINGLE:
        if HAS_FIRST:
            b_h += tl.load(p_first + i_b * E * N + o_ne, mask=m_e[None, :], other=0.0).to(tl.float32)
    else:
        b_h += tl.load(p_state + i_first * E * N + o_ne, mask=m_e[None, :], other=0.0)

    first = place(i_c, long, T, SEGMENT)
    left = tl.minimum(L - first, place(i_c + 1, long, T, SEGMENT) - first)
    for i_s in range(0, (left + SEGMENT - 1) // SEGMENT):
        if SAVE:
            tl.store(p_state + (i_first + i_s) * E * N + o_ne, b_h, mask=m_e[None, :])
        t0 = (first + i_s * SEGMENT).to(tl.int64)
        p_us = p_u + i_b * stride_ub + t0 * stride_ut
        p_ds = p_dt + i_b * stride_db + t0 * stride_dt
        p_Bs = p_B + i_b * stride_Bb + t0 * stride_Bt
        p_Cs = p_C + i_b * stride_Cb + t0 * stride_Ct
        if HAS_Z:
            p_zs = p_z + i_b * stride_zb + t0 * stride_zt
        p_ys = p_y + i_b * L * E + t0 * step
        span = SEGMENT if EVEN else tl.minimum(SEGMENT, left - i_s * SEGMENT)
        for t in range(0, span, STEPS):
            steps = left - i_s * SEGMENT - t
            u = load_rows(p_us + t * stride_ut, stride_ut, o_e, m_e, steps, STEPS, EVEN)
            dt = load_rows(p_ds + t * stride_dt, stride_dt, o_e, m_e, steps, STEPS, EVEN)
            B = load_rows(p_Bs + t * stride_Bt, stride_Bt, o_n, m_n, steps, STEPS, EVEN)
            if HAS_STARTS:
                starts = starts_at(p_starts + i_b * L + t0 + t, steps, STEPS, EVEN)
            C = load_rows(p_Cs + t * stride_Ct, stride_Ct, o_n, m_n, steps, STEPS, EVEN)
            if HAS_Z:
                z = load_rows(p_zs + t * stride_zt, stride_zt, o_e, m_e, steps, STEPS, EVEN)
            for k in tl.static_range(STEPS):
                b_u = u[k].to(tl.float32)
                b_delta = step_size(dt[k], b_bias, k < steps, SOFTPLUS, EVEN, FAST)
                b_drive = (b_delta * b_u)[None, :] * B[k].to(tl.float32)[:, None]
                b_rate = b_delta * LOG2E
                if HAS_STARTS:
                    b_rate = tl.where(starts[k], FORGET, b_rate)
                b_h = exp2(b_rate[None, :] * b_A, FAST) * b_h + b_drive
                b_y = tl.sum(b_h * C[k].to(tl.float32)[:, None], axis=0)
                if HAS_D:
                    b_y += b_D * b_u
                if HAS_Z:
                    b_z = z[k].to(tl.float32)
                    b_y *= b_z * sigmoid(b_z, FAST)
                m_y = m_e if EVEN else m_e & (k < steps)
                tl.store(p_ys + (t + k) * step + o_e, b_y.to(p_y.dtype.element_ty), mask=m_y)
    if i_c + 1 == chunks:
        tl.store(p_last + i_b * E * N + o_ne, b_h, mask=m_e[None, :])
