# The bodies are Triton's language.
# ruff: noqa: PIE808
# mypy: ignore-errors
"""The last sums of the scan's backward: over groups of tiles, and over chunks."""

import triton
import triton.language as tl


@triton.jit
def add_groups(p_parts, p_dB, p_dC, size, groups, BLOCK: tl.constexpr):
    """Sum the groups' parts, [2, groups, size], of dB and of dC, in their order."""
    i_x = tl.program_id(1)
    o_x = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m_x = o_x < size
    b_sum = tl.zeros([BLOCK], tl.float32)
    for i_g in range(0, groups):
        b_sum += tl.load(p_parts + (i_x * groups + i_g).to(tl.int64) * size + o_x, mask=m_x, other=0.0)
    if i_x == 0:
        tl.store(p_dB + o_x, b_sum.to(p_dB.dtype.element_ty), mask=m_x)
    else:
        tl.store(p_dC + o_x, b_sum.to(p_dC.dtype.element_ty), mask=m_x)


@triton.jit
def add_rows(p_rows, p_sums, rows, width, o_out, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Sum a matrix [rows, width] over its rows, in one order; column c of this program goes to o_out[c]."""
    o_row = tl.arange(0, ROWS)
    o_col = tl.program_id(0) * COLS + tl.arange(0, COLS)
    m_col = o_col < width
    b_sum = tl.zeros([ROWS, COLS], tl.float32)
    for i_r in range(0, rows, ROWS):
        p_tile = p_rows + (i_r + o_row).to(tl.int64)[:, None] * width + o_col[None, :]
        b_sum += tl.load(p_tile, mask=(i_r + o_row < rows)[:, None] & m_col[None, :], other=0.0)
    tl.store(p_sums + o_out, tl.sum(b_sum, axis=0).to(p_sums.dtype.element_ty), mask=m_col)


@triton.jit
def add_chunks(
    p_parts_dA, p_parts_dD, p_parts_dbias, p_dA, p_dD, p_dbias, chunks, E,
    N: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Sum the chunks' dA, [chunks, N, E], into [E, N], and their dD and dbias, [chunks, E]."""
    o_col = tl.program_id(0) * COLS + tl.arange(0, COLS)
    if tl.program_id(1) == 0:
        add_rows(p_parts_dA, p_dA, chunks, N * E, o_col % E * N + o_col // E, ROWS, COLS)
    elif tl.program_id(0) * COLS < E:
        if tl.program_id(1) == 1:
            if HAS_D:
                add_rows(p_parts_dD, p_dD, chunks, E, o_col, ROWS, COLS)
        else:
            if HAS_BIAS:
                add_rows(p_parts_dbias, p_dbias, chunks, E, o_col, ROWS, COLS)
