# The bodies are Triton's language: tuples grow by +, ranges have two ends, a constexpr branch needs its else.
# ruff: noqa: RUF005, PIE808
# mypy: ignore-errors
"""Forward and backward kernels of the causal depthwise convolution, with SiLU.

    a[t] = bias + sum over k of weight[k] x[t - (K-1) + k]        y[t] = silu(a[t])

    da[t] = dy[t] silu'(a[t])                                     dbias = sum_t da[t]
    dx[t] = sum over k of weight[k] da[t + (K-1) - k]             dweight[k] = sum_t da[t] x[t - (K-1) + k]

A program is one warp on a tile of channels. It loads ROWS positions and the K-1 next to them at once, so that
many rows are in flight, and keeps them in registers: every row is read from memory about once. Both kernels
are bound by memory; the backward computes a again rather than have it kept. With TURN = -1 a sequence is read
from its end. With HAS_STARTS a row holds sequences, one behind the other, and no tap reaches over a start.
"""

import triton
import triton.language as tl

from dnamamba.kernels.triton_math import sigmoid, turned


@triton.jit
def locate(i_p, tiles, blocks):
    """Turn a program's number into (tile, block of positions, batch row)."""
    return i_p % tiles, (i_p // tiles) % blocks, (i_p // tiles // blocks).to(tl.int64)


@triton.jit
def load_inputs(
    p_x, p_first, stride_xt, t0, i_b, o_e, m_e, L, E,
    K: tl.constexpr, COUNT: tl.constexpr, HAS_FIRST: tl.constexpr,
):  # fmt: skip
    """Load x at t0 - (K-1) and the COUNT - 1 positions after; before the sequence, the initial state or 0."""
    rows = ()
    for r in tl.static_range(COUNT):
        t = t0 + r - (K - 1)
        b_x = tl.load(p_x + t * stride_xt + o_e, mask=m_e & (t >= 0) & (t < L), other=0.0).to(tl.float32)
        if HAS_FIRST:
            o_first = (i_b * (K - 1) + t + (K - 1)) * E + o_e
            b_x += tl.load(p_first + o_first, mask=m_e & (t < 0), other=0.0).to(tl.float32)
        rows = rows + (b_x,)
    return rows


@triton.jit
def load_blocked(p_starts, t0, i_b, L, K: tl.constexpr, COUNT: tl.constexpr, HAS_STARTS: tl.constexpr):
    """Return whether a start is between t and t - 1, ..., t - (K-1), for COUNT positions from t0 on."""
    blocked = ()
    if HAS_STARTS:
        starts = ()
        for r in tl.static_range(COUNT + K - 1):
            t = t0 + r - (K - 1)
            starts = starts + (tl.load(p_starts + i_b * L + t, mask=(t >= 0) & (t < L), other=0) != 0,)
        for r in tl.static_range(COUNT):
            b_any = t0 < 0
            for j in tl.static_range(K - 1):
                b_any = b_any | starts[r + K - 1 - j]
                blocked = blocked + (b_any,)
    return blocked


@triton.jit
def unless(blocked, r: tl.constexpr, back: tl.constexpr, b_x, K: tl.constexpr, HAS_STARTS: tl.constexpr):
    """Return `b_x`, what position r makes of or gives to the one `back` before it; zeros over a start."""
    if HAS_STARTS and back > 0:
        b_x = tl.where(blocked[r * (K - 1) + back - 1], 0.0, b_x)
    return b_x


@triton.jit
def load_weights(p_weight, p_bias, o_e, m_e, K: tl.constexpr, TILE: tl.constexpr, HAS_BIAS: tl.constexpr):
    """Load the K taps as a tuple, and the bias."""
    taps = ()
    for k in tl.static_range(K):
        taps = taps + (tl.load(p_weight + o_e * K + k, mask=m_e, other=0.0).to(tl.float32),)
    b_bias = tl.zeros([TILE], tl.float32)
    if HAS_BIAS:
        b_bias += tl.load(p_bias + o_e, mask=m_e, other=0.0).to(tl.float32)
    return taps, b_bias


@triton.jit
def convolution_forward(
    p_x, p_weight, p_bias, p_first, p_starts, p_y, stride_xb, stride_xt, L, E, tiles, blocks,
    K: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_FIRST: tl.constexpr, HAS_STARTS: tl.constexpr, SILU: tl.constexpr,
    FAST: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    """Write y."""
    i_e, i_t, i_b = locate(tl.program_id(0), tiles, blocks)
    o_e = i_e * TILE + tl.arange(0, TILE)
    m_e = o_e < E
    t0 = i_t.to(tl.int64) * ROWS
    p_x, stride_xt = turned(p_x, stride_xt, L, TURN)
    p_y, step = turned(p_y, E, L, TURN)
    taps, b_bias = load_weights(p_weight, p_bias, o_e, m_e, K, TILE, HAS_BIAS)
    x = load_inputs(
        p_x + i_b * stride_xb, p_first, stride_xt, t0, i_b, o_e, m_e, L, E, K, ROWS + K - 1, HAS_FIRST
    )
    blocked = load_blocked(p_starts, t0, i_b, L, K, ROWS, HAS_STARTS)
    for r in tl.static_range(ROWS):
        b_a = b_bias
        for k in tl.static_range(K):
            b_a += taps[k] * unless(blocked, r, K - 1 - k, x[r + k], K, HAS_STARTS)
        if SILU:
            b_a *= sigmoid(b_a, FAST)
        p_row = p_y + i_b * L * E + (t0 + r) * step
        tl.store(p_row + o_e, b_a.to(p_y.dtype.element_ty), mask=m_e & (t0 + r < L))


@triton.jit
def convolution_backward(
    p_x, p_weight, p_bias, p_first, p_starts, p_dy, p_dx, p_dweight, p_dbias,
    stride_xb, stride_xt, stride_yb, stride_yt, L, E, tiles, blocks, loops,
    K: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_FIRST: tl.constexpr, HAS_STARTS: tl.constexpr, SILU: tl.constexpr,
    FAST: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    """Write dx, and this block's share of dweight and dbias; a block is ROWS x `loops` positions."""
    i_e, i_t, i_b = locate(tl.program_id(0), tiles, blocks)
    o_e = i_e * TILE + tl.arange(0, TILE)
    m_e = o_e < E
    taps, b_bias = load_weights(p_weight, p_bias, o_e, m_e, K, TILE, HAS_BIAS)
    p_x, stride_xt = turned(p_x, stride_xt, L, TURN)
    p_dy, stride_yt = turned(p_dy, stride_yt, L, TURN)
    p_dx, step = turned(p_dx, E, L, TURN)
    b_dbias = tl.zeros([TILE], tl.float32)
    dtaps = ()
    for _ in tl.static_range(K):
        dtaps = dtaps + (tl.zeros([TILE], tl.float32),)
    for i_l in range(0, loops):
        t0 = (i_t.to(tl.int64) * loops + i_l) * ROWS
        x = load_inputs(
            p_x + i_b * stride_xb, p_first, stride_xt, t0, i_b, o_e, m_e, L, E, K, ROWS + 2 * K - 2, HAS_FIRST
        )
        blocked = load_blocked(p_starts, t0, i_b, L, K, ROWS + K - 1, HAS_STARTS)
        dy = ()
        for r in tl.static_range(ROWS + K - 1):
            p_row = p_dy + i_b * stride_yb + (t0 + r) * stride_yt
            dy = dy + (tl.load(p_row + o_e, mask=m_e & (t0 + r < L), other=0.0).to(tl.float32),)
        da = ()
        for r in tl.static_range(ROWS + K - 1):
            b_da = dy[r]
            if SILU:
                b_a = b_bias
                for k in tl.static_range(K):
                    b_a += taps[k] * unless(blocked, r, K - 1 - k, x[r + k], K, HAS_STARTS)
                b_s = sigmoid(b_a, FAST)
                b_da *= b_s * (1.0 + b_a * (1.0 - b_s))
            da = da + (b_da,)
        for r in tl.static_range(ROWS):
            b_dx = tl.zeros([TILE], tl.float32)
            sums = ()
            for k in tl.static_range(K):
                b_da = unless(blocked, r + K - 1 - k, K - 1 - k, da[r + K - 1 - k], K, HAS_STARTS)
                b_dx += taps[k] * b_da
                b_x = unless(blocked, r, K - 1 - k, x[r + k], K, HAS_STARTS)
                sums = sums + (dtaps[k] + da[r] * b_x,)
            dtaps = sums
            b_dbias += da[r]
            p_row = p_dx + i_b * L * E + (t0 + r) * step
            tl.store(p_row + o_e, b_dx.to(p_dx.dtype.element_ty), mask=m_e & (t0 + r < L))
    i_block = i_b * blocks + i_t
    for k in tl.static_range(K):
        tl.store(p_dweight + (i_block * E + o_e) * K + k, dtaps[k], mask=m_e)
    if HAS_BIAS:
        tl.store(p_dbias + i_block * E + o_e, b_dbias, mask=m_e)
