# The body is Triton's language.
# mypy: ignore-errors
"""One position of a whole block in four kernels, for a few sequences.

Then a step is limited by the number of kernels rather than by what they do: of single rows, a matrix product
is as long as the weights take to read. From top to bottom, each kernel with what it needs at once:

    u, z = in_proj(norm(x)), u = convolution(u)    low, B, C = x_proj(u)
    y = scan(u, dt_proj(low), B, C) silu(z)        x = x + out_proj(y)

What the parts exchange is rounded where separate products would round it, but for the normed inputs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dnamamba.kernels.causal_conv1d.triton_kernels import load_weights
from dnamamba.kernels.causal_conv1d.triton_step import convolved
from dnamamba.kernels.launch import launch, power_of_two
from dnamamba.kernels.selective_scan.triton_step import scanned
from dnamamba.kernels.triton_math import fast_math

from .api import BlockWeights

_CHANNELS, _OUTPUTS, _COLUMNS, _WARPS = 4, 4, 1024, 8  # of a program; columns of a row read at a time


@triton.jit
def product(b_x, p_w, o_row, m_row, o_col, m_col, COLUMNS: tl.constexpr):
    """Return the part of a product that some columns make, [rows], fp32."""
    p_tile = p_w + o_row[:, None].to(tl.int64) * COLUMNS + o_col[None, :]
    b_w = tl.load(p_tile, mask=m_row[:, None] & m_col[None, :], other=0.0)
    return tl.sum(b_w.to(tl.float32) * b_x[None, :], axis=1)


@triton.jit
def enter(
    p_x, p_norm, p_w, p_history, p_taps, p_bias, p_u, p_z, eps, E,
    D: tl.constexpr, K: tl.constexpr, TILE: tl.constexpr, COLUMNS: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Write u, convolved, and z of a sequence's tile of channels."""
    i_b = tl.program_id(1).to(tl.int64)
    o_e = tl.program_id(0) * TILE + tl.arange(0, TILE)
    m_e = o_e < E
    p_x += i_b * D
    # The norm is a factor of the whole row: it is found while the products are, not waited for.
    b_square = tl.zeros([COLUMNS], tl.float32)
    b_u = tl.zeros([TILE], tl.float32)
    b_z = tl.zeros([TILE], tl.float32)
    for start in tl.static_range(0, D, COLUMNS):
        o_d = start + tl.arange(0, COLUMNS)
        b_x = tl.load(p_x + o_d, mask=o_d < D, other=0.0).to(tl.float32)
        b_square += b_x * b_x
        b_x *= tl.load(p_norm + o_d, mask=o_d < D, other=0.0).to(tl.float32)
        b_u += product(b_x, p_w, o_e, m_e, o_d, o_d < D, D)
        b_z += product(b_x, p_w, E + o_e, m_e, o_d, o_d < D, D)
    b_scale = tl.rsqrt(tl.sum(b_square, axis=0) / D + eps)
    b_u *= b_scale
    b_z *= b_scale
    b_u = b_u.to(p_u.dtype.element_ty)
    tl.store(p_z + i_b * E + o_e, b_z.to(p_z.dtype.element_ty), mask=m_e)
    taps, b_a = load_weights(p_taps, p_bias, o_e, m_e, K, TILE, True)
    b_a = convolved(p_history + i_b * (K - 1) * E + o_e, b_u, taps, b_a, m_e, E, K, FAST)
    tl.store(p_u + i_b * E + o_e, b_a.to(p_u.dtype.element_ty), mask=m_e)


@triton.jit
def project(p_x, p_w, p_y, R, E: tl.constexpr, TILE: tl.constexpr, COLUMNS: tl.constexpr, ADD: tl.constexpr):
    """Write a tile of a row's R products with [R, E] to y, or add it to what is there."""
    i_b = tl.program_id(1).to(tl.int64)
    o_r = tl.program_id(0) * TILE + tl.arange(0, TILE)
    m_r = o_r < R
    b_y = tl.zeros([TILE], tl.float32)
    for start in tl.static_range(0, E, COLUMNS):
        o_e = start + tl.arange(0, COLUMNS)
        b_x = tl.load(p_x + i_b * E + o_e, mask=o_e < E, other=0.0).to(tl.float32)
        b_y += product(b_x, p_w, o_r, m_r, o_e, o_e < E, E)
    p_y += i_b * R + o_r
    if ADD:
        b_y = tl.load(p_y, mask=m_r, other=0.0).to(tl.float32) + b_y.to(p_x.dtype.element_ty).to(tl.float32)
    tl.store(p_y, b_y.to(p_y.dtype.element_ty), mask=m_r)


@triton.jit
def scan(
    p_state, p_u, p_low, p_w, p_A, p_D, p_z, p_bias, p_y, E,
    R: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, COLUMNS: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Write y of a sequence's tile of channels, and update their state in place."""
    i_b = tl.program_id(1).to(tl.int64)
    o_e = tl.program_id(0) * TILE + tl.arange(0, TILE)
    m_e = o_e < E
    p_low += i_b * (R + 2 * N)
    o_r = tl.arange(0, COLUMNS)
    b_low = tl.load(p_low + o_r, mask=o_r < R, other=0.0).to(tl.float32)
    b_dt = product(b_low, p_w, o_e, m_e, o_r, o_r < R, R).to(p_y.dtype.element_ty).to(tl.float32)
    b_y = scanned(
        p_state + i_b * E * N, p_u + i_b * E, p_A, p_low + R, p_low + R + N, p_D, p_z + i_b * E, p_bias,
        b_dt, o_e, m_e, N, FAST,
    )  # fmt: skip
    tl.store(p_y + i_b * E + o_e, b_y.to(p_y.dtype.element_ty), mask=m_e)


def block_step(x: Tensor, weights: BlockWeights, eps: float, history: Tensor, state: Tensor) -> None:
    """Read one position: `mamba_block` with L = 1, x becoming x + the block's output.

    Args:
        x: [B, D], contiguous, of few rows; changed.
        weights: contiguous; those of the four products in the dtype of what the parts exchange.
        eps: of the norm.
        history: [B, K - 1, E], the convolution's last inputs; changed.
        state: [B, E, N], fp32, N a power of two; changed.
    """
    assert state.dtype == torch.float32
    assert torch.float64 not in (x.dtype, weights.in_proj.dtype)
    rows, width = x.shape
    channels, states = weights.A.shape
    outputs, rank = len(weights.x_proj), weights.dt_proj.shape[1]
    dtype, fast = weights.in_proj.dtype, fast_math(weights.in_proj.dtype)
    u, z, y = x.new_empty(3, rows, channels, dtype=dtype)
    low = x.new_empty(rows, outputs, dtype=dtype)
    columns, inner = (min(power_of_two(size), _COLUMNS) for size in (width, channels))
    tiles = (-(-channels // _CHANNELS), rows)
    launch(
        enter, tiles,
        x, weights.norm, weights.in_proj, history, weights.conv_weight, weights.conv_bias, u, z, eps,
        channels,
        D=width, K=weights.conv_weight.shape[1], TILE=_CHANNELS, COLUMNS=columns, FAST=fast,
        num_warps=_WARPS, num_stages=1,
    )  # fmt: skip
    launch(
        project, (outputs, rows), u, weights.x_proj, low, outputs,
        E=channels, TILE=1, COLUMNS=inner, ADD=False, num_warps=_WARPS, num_stages=1,
    )  # fmt: skip
    launch(
        scan, tiles,
        state, u, low, weights.dt_proj, weights.A, weights.D, z, weights.dt_bias, y, channels,
        R=rank, N=states, TILE=_CHANNELS, COLUMNS=power_of_two(rank), FAST=fast, num_warps=1, num_stages=1,
    )  # fmt: skip
    launch(
        project, (-(-width // _OUTPUTS), rows), y, weights.out_proj, x, width,
        E=channels, TILE=_OUTPUTS, COLUMNS=inner, ADD=True, num_warps=_WARPS, num_stages=1,
    )  # fmt: skip
