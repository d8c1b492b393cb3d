# The bodies are Triton's language: ranges have two ends, a constexpr branch needs its else.
# ruff: noqa: PIE808
# mypy: ignore-errors
"""What crosses the borders of ranks (see `spread.py`): a part's summary to send, and what follows from all.

In torch these would be some thirty launches a scan, which take longer than a short chunk's sweeps.
"""

import triton
import triton.language as tl

from dnamamba.kernels.triton_math import LOG2E, exp2

from .triton_forward import compose, fetch_summaries


@triton.jit
def summary(
    p_A, p_total, p_state, p_part, stride_e, stride_n, E, chunks, long, saved, slots,
    N: tl.constexpr, COLS: tl.constexpr, ROWS: tl.constexpr, REVERSE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Write what all chunks make of a zero state into `p_part` [B, 1 + N, E], behind a row for their total.

    Otherwise as `carry`, before which it runs: the last row of its scan is the state after the last chunk.
    """
    i_b = tl.program_id(1).to(tl.int64)
    o_col = tl.program_id(0) * COLS + tl.arange(0, COLS)
    m_col = o_col < E * N
    o_e = o_col % E
    b_A = tl.load(p_A + o_e * stride_e + o_col // E * stride_n, mask=m_col, other=0.0).to(tl.float32)
    b_carry = tl.zeros([COLS], tl.float32)
    p_total += i_b * chunks * E
    p_state += i_b * saved * E * N
    rows = chunks + 1
    b_total, b_drive, _, _ = fetch_summaries(
        0, p_total, p_state, o_e, o_col, m_col, E, rows, chunks, long, slots, N, ROWS, REVERSE
    )
    for i_r in range(0, rows, ROWS):
        b_next_total, b_next_drive, _, _ = fetch_summaries(
            i_r + ROWS, p_total, p_state, o_e, o_col, m_col, E, rows, chunks, long, slots, N, ROWS, REVERSE
        )
        b_decay, b_h = tl.associative_scan((exp2(b_total * LOG2E * b_A[None, :], FAST), b_drive), 0, compose)
        b_h += b_decay * b_carry[None, :]
        b_carry = tl.sum(tl.where((tl.arange(0, ROWS) == ROWS - 1)[:, None], b_h, 0.0), axis=0)
        b_total, b_drive = b_next_total, b_next_drive
    tl.store(p_part + i_b * (N + 1) * E + E + o_col, b_carry, mask=m_col)


@triton.jit
def across(
    p_A, p_parts, p_first, p_before, p_after, stride_e, stride_n, batch, E, ranks, rank,
    N: tl.constexpr, COLS: tl.constexpr, HAS_FIRST: tl.constexpr, REVERSE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Compute the states before this rank's part and after all, [B, E, N], from [ranks, B, 1 + N, E].

    The first state is [B, E, N]. If REVERSE, the last rank comes first.
    """
    i_b = tl.program_id(1).to(tl.int64)
    o_col = tl.program_id(0) * COLS + tl.arange(0, COLS)
    m_col = o_col < E * N
    o_e = o_col % E
    o_en = i_b * E * N + o_e * N + o_col // E
    b_A = tl.load(p_A + o_e * stride_e + o_col // E * stride_n, mask=m_col, other=0.0).to(tl.float32)
    b_h = tl.zeros([COLS], tl.float32)
    if HAS_FIRST:
        b_h += tl.load(p_first + o_en, mask=m_col, other=0.0).to(tl.float32)
    for i in range(0, ranks):
        i_r = ranks - 1 - i if REVERSE else i
        if i_r == rank:
            tl.store(p_before + o_en, b_h, mask=m_col)
        p_part = p_parts + (i_r * batch + i_b) * (N + 1) * E
        b_total = tl.load(p_part + o_e, mask=m_col, other=0.0)
        b_drive = tl.load(p_part + E + o_col, mask=m_col, other=0.0)
        b_h = exp2(b_total * LOG2E * b_A, FAST) * b_h + b_drive
    tl.store(p_after + o_en, b_h, mask=m_col)
