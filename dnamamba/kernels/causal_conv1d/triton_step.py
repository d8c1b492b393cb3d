# The body is Triton's language: tuples grow by +, a constexpr branch needs its else.
# ruff: noqa: RUF005
# mypy: ignore-errors
"""One position of the causal convolution in Triton: history read, moved on and written in one kernel."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dnamamba.kernels.launch import launch
from dnamamba.kernels.triton_math import fast_math, sigmoid

from .triton_kernels import load_weights

_TILE = 128


@triton.jit
def convolved(p_h, b_x, taps, b_a, m_e, E, K: tl.constexpr, FAST: tl.constexpr):
    """Return y of some channels, fp32, of which `b_a` is the bias, and move their history on by one."""
    b_a += taps[K - 1] * b_x.to(tl.float32)
    old = ()
    for k in tl.static_range(K - 1):
        b_old = tl.load(p_h + k * E, mask=m_e, other=0.0)
        b_a += taps[k] * b_old.to(tl.float32)
        old = old + (b_old,)
    tl.debug_barrier()  # several warps may hold a channel: none reads what another has moved on
    for k in tl.static_range(1, K - 1):
        tl.store(p_h + (k - 1) * E, old[k], mask=m_e)
    if K > 1:
        tl.store(p_h + (K - 2) * E, b_x, mask=m_e)
    return b_a * sigmoid(b_a, FAST)


@triton.jit
def convolution_step(
    p_history, p_x, p_weight, p_bias, p_y, stride_x, E,
    K: tl.constexpr, TILE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Write y of a sequence's tile, and move its history on by one."""
    i_b = tl.program_id(1).to(tl.int64)
    o_e = tl.program_id(0) * TILE + tl.arange(0, TILE)
    m_e = o_e < E
    taps, b_a = load_weights(p_weight, p_bias, o_e, m_e, K, TILE, True)
    b_x = tl.load(p_x + i_b * stride_x + o_e, mask=m_e, other=0.0)
    b_a = convolved(p_history + i_b * (K - 1) * E + o_e, b_x, taps, b_a, m_e, E, K, FAST)
    tl.store(p_y + i_b * E + o_e, b_a.to(p_y.dtype.element_ty), mask=m_e)


def causal_conv1d_step_triton(history: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See `causal_conv1d_step`."""
    assert history.is_contiguous()
    assert history.dtype == x.dtype
    x = x if x.stride(-1) == 1 else x.contiguous()
    batch, channels = x.shape
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    launch(
        convolution_step, (-(-channels // _TILE), batch),
        history, x, weight.contiguous(), bias.contiguous(), y, x.stride(0), channels,
        K=weight.shape[1], TILE=_TILE, FAST=fast_math(x.dtype), num_warps=4, num_stages=1,
    )  # fmt: skip
    return y
