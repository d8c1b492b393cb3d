# The bodies are Triton's language.
# ruff: noqa: PIE808
# mypy: ignore-errors
"""The last sums of the scan's backward: over groups of tiles, and over chunks."""

import triton
import triton.language as tl


@triton.jit
def add_groups(p_parts, p_sums, size, groups, i_p, BLOCK: tl.constexpr):
    """Sum the groups' parts, [groups, size], in their order; this program's BLOCK of them."""
    o_x = i_p.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m_x = o_x < size
    b_sum = tl.zeros([BLOCK], tl.float32)
    for _ in range(0, groups):
        b_sum += tl.load(p_parts + o_x, mask=m_x, other=0.0)
        p_parts += size
    tl.store(p_sums + o_x, b_sum.to(p_sums.dtype.element_ty), mask=m_x)


@triton.jit
def add_rows(p_rows, p_sums, rows, width, o_col, o_out, ROWS: tl.constexpr):
    """Sum columns `o_col` of a matrix [rows, width] over its rows, in one order, into `o_out`."""
    COLS: tl.constexpr = o_col.shape[0]
    o_row = tl.arange(0, ROWS)
    m_col = o_col < width
    b_sum = tl.zeros([ROWS, COLS], tl.float32)
    for i_r in range(0, rows, ROWS):
        p_tile = p_rows + (i_r + o_row).to(tl.int64)[:, None] * width + o_col[None, :]
        b_sum += tl.load(p_tile, mask=(i_r + o_row < rows)[:, None] & m_col[None, :], other=0.0)
    tl.store(p_sums + o_out, tl.sum(b_sum, axis=0).to(p_sums.dtype.element_ty), mask=m_col)


@triton.jit
def last_sums(
    p_parts_dB, p_parts_dC, p_parts_dA, p_parts_dD, p_parts_dbias, p_dB, p_dC, p_dA, p_dD, p_dbias,
    size, blocks, groups, chunks, E,
    N: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Sum the groups' dB and dC, [groups, size]; the chunks' dA, [chunks, N, E], dD and dbias, [chunks, E].

    dA becomes [E, N]. Programs in this order; dB and dC have `blocks` each.
    """
    i_p = tl.program_id(0)
    tiles_dA = (N * E + COLS - 1) // COLS
    tiles = (E + COLS - 1) // COLS
    if i_p < blocks:
        add_groups(p_parts_dB, p_dB, size, groups, i_p, BLOCK)
    elif i_p < 2 * blocks:
        add_groups(p_parts_dC, p_dC, size, groups, i_p - blocks, BLOCK)
    else:
        i_t = i_p - 2 * blocks
        o_col = i_t * COLS + tl.arange(0, COLS)
        if i_t < tiles_dA:
            add_rows(p_parts_dA, p_dA, chunks, N * E, o_col, o_col % E * N + o_col // E, ROWS)
        else:
            o_col -= tiles_dA * COLS
            if i_t < tiles_dA + tiles:
                if HAS_D:
                    add_rows(p_parts_dD, p_dD, chunks, E, o_col, o_col, ROWS)
            else:
                if HAS_BIAS:
                    o_col -= tiles * COLS
                    add_rows(p_parts_dbias, p_dbias, chunks, E, o_col, o_col, ROWS)
