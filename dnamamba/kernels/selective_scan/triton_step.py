# The body is Triton's language.
# mypy: ignore-errors
"""One position of the selective scan in Triton: the state read, moved on and written in one kernel.

delta = softplus(dt + dt_bias)    h = exp(delta A) h + delta B u    y = (sum over n of C h + D u) silu(z)
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from dnamamba.kernels.launch import launch, power_of_two
from dnamamba.kernels.triton_math import LOG2E, exp2, fast_math, sigmoid, softplus

_TILE = 32


@triton.jit
def scanned(
    p_state, p_u, p_A, p_B, p_C, p_D, p_z, p_bias, b_dt, o_e, m_e, N: tl.constexpr, FAST: tl.constexpr
):
    """Return y of some channels of one sequence, fp32, and update their state in place."""
    o_n = tl.arange(0, N)
    o_en = o_e[:, None] * N + o_n[None, :]
    b_delta = softplus(b_dt + tl.load(p_bias + o_e, mask=m_e, other=0.0).to(tl.float32), FAST)
    b_u = tl.load(p_u + o_e, mask=m_e, other=0.0).to(tl.float32)
    b_z = tl.load(p_z + o_e, mask=m_e, other=0.0).to(tl.float32)
    b_B = tl.load(p_B + o_n).to(tl.float32)
    b_C = tl.load(p_C + o_n).to(tl.float32)
    b_A = tl.load(p_A + o_en, mask=m_e[:, None], other=0.0).to(tl.float32)
    b_h = tl.load(p_state + o_en, mask=m_e[:, None], other=0.0)
    b_h = exp2((b_delta * LOG2E)[:, None] * b_A, FAST) * b_h + (b_delta * b_u)[:, None] * b_B[None, :]
    tl.store(p_state + o_en, b_h, mask=m_e[:, None])
    b_y = tl.sum(b_h * b_C[None, :], axis=1)
    b_y += tl.load(p_D + o_e, mask=m_e, other=0.0).to(tl.float32) * b_u
    return b_y * (b_z * sigmoid(b_z, FAST))


@triton.jit
def scan_step(
    p_state, p_u, p_dt, p_A, p_B, p_C, p_D, p_z, p_bias, p_y,
    stride_u, stride_dt, stride_B, stride_C, stride_z, E,
    N: tl.constexpr, TILE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Update a tile of one sequence's state in place, and write its y."""
    i_b = tl.program_id(1).to(tl.int64)
    o_e = tl.program_id(0) * TILE + tl.arange(0, TILE)
    m_e = o_e < E
    b_dt = tl.load(p_dt + i_b * stride_dt + o_e, mask=m_e, other=0.0).to(tl.float32)
    b_y = scanned(
        p_state + i_b * E * N, p_u + i_b * stride_u, p_A, p_B + i_b * stride_B, p_C + i_b * stride_C, p_D,
        p_z + i_b * stride_z, p_bias, b_dt, o_e, m_e, N, FAST,
    )  # fmt: skip
    tl.store(p_y + i_b * E + o_e, b_y.to(p_y.dtype.element_ty), mask=m_e)


def selective_scan_step_triton(
    state: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
) -> Tensor:
    """See `selective_scan_step`; fp32 states."""
    states = state.shape[-1]
    more = (0, power_of_two(states) - states)
    if more[1]:
        wide = F.pad(state, more)
        y = selective_scan_step_triton(
            wide, u, dt, F.pad(A, more, value=-1.0), F.pad(B, more), F.pad(C, more), D, z, dt_bias
        )
        state.copy_(wide[..., :states])
        return y
    assert state.is_contiguous()
    assert state.dtype == torch.float32
    u, dt, B, C, z = (x if x.stride(-1) == 1 else x.contiguous() for x in (u, dt, B, C, z))
    batch, channels, states = state.shape
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    launch(
        scan_step, (-(-channels // _TILE), batch),
        state, u, dt, A.contiguous(), B, C, D.contiguous(), z, dt_bias.contiguous(), y,
        u.stride(0), dt.stride(0), B.stride(0), C.stride(0), z.stride(0), channels,
        N=states, TILE=_TILE, FAST=fast_math(u.dtype), num_warps=1, num_stages=1,
    )  # fmt: skip
    return y
