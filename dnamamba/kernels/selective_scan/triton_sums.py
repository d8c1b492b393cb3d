# The bodies are Triton's language: a constexpr branch needs its else.
# ruff: noqa: PIE808, RET505
# mypy: ignore-errors
"""Sums of the scan's backward: over the channels of a tile; at last over groups of tiles, and over chunks."""

import triton
import triton.language as tl


@triton.jit
def exchange(b_low, b_high, BIT: tl.constexpr):
    """Do a halving step of `sum_channels`: channels with BIT take the high rows, the others the low ones."""
    o_col = tl.arange(0, b_low.shape[1])
    m_high = ((o_col & BIT) != 0)[None, :]
    b_send = tl.where(m_high, b_low, b_high)
    o_from = tl.broadcast_to((o_col ^ BIT)[None, :], b_low.shape)
    return tl.where(m_high, b_high, b_low) + tl.gather(b_send, o_from, 1)


@triton.jit
def sum_channels(b_first, b_second):
    """Sum two [N, TILE] tiles over channels, each sum in another channel's place (see `sum_rows`).

    Every step pairs channels that differ in one bit; each keeps half of the rows and gives the other half
    away. That is one exchange for each of the 2N sums, where a reduction that leaves its result in all
    channels takes log2(TILE).
    """
    N: tl.constexpr = b_first.shape[0]
    TILE: tl.constexpr = b_first.shape[1]
    b_x = exchange(b_first, b_second, 1)
    for s in tl.static_range(1, 8):
        if (1 << s) < TILE and (1 << s) < 2 * N:
            b_pairs = tl.permute(tl.reshape(b_x, [2, b_x.shape[0] // 2, TILE]), [1, 2, 0])
            b_low, b_high = tl.split(b_pairs)
            b_x = exchange(b_low, b_high, 1 << s)
    if TILE > 2 * N:
        return tl.sum(tl.reshape(b_x, [TILE // (2 * N), 2 * N]), axis=0)
    else:
        return tl.reshape(b_x, [2 * N])


@triton.jit
def sum_rows(N: tl.constexpr, TILE: tl.constexpr):
    """Return which of the 2N rows (first tile, then second) `sum_channels` leaves in each place."""
    o_place = tl.arange(0, 2 * N)
    o_col = o_place % TILE
    o_row = o_place // TILE
    for s in tl.static_range(0, 8):
        if (1 << s) < TILE and (1 << s) < 2 * N:
            o_row += ((o_col >> s) & 1) * (N >> s)
    return o_row


@triton.jit
def store_sums(p_sums, b_first, b_second, o_row, rows, add, TURN: tl.constexpr):
    """Store, or add to, the sums over channels of two neighbouring positions' tiles, if `rows` has both."""
    N: tl.constexpr = b_first.shape[0]
    m_row = o_row < rows * N
    o_sum = o_row if TURN == 1 else o_row % N - o_row // N * N
    b_sums = tl.load(p_sums + o_sum, mask=m_row & add, other=0.0)
    tl.store(p_sums + o_sum, b_sums + sum_channels(b_first, b_second), mask=m_row)


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
