# The bodies are Triton's language: ranges have two ends.
# mypy: ignore-errors
"""RMSNorm of the residual stream, and its backward with the residual's, each in one pass over memory.

For y = x + f(n) with n = x r w and r = 1 / sqrt(mean(x^2) + eps), over the last dimension,
given dy and dn (the gradient of n):

    dx = dy + r (dn w - x r mean(dn w x r))          dw = sum over rows of dn x r
"""

import triton
import triton.language as tl


@triton.jit
def norm_forward(p_x, p_weight, p_n, rows, D, eps, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Write n, in its own dtype."""
    o_d = tl.arange(0, COLS)
    m_d = o_d < D
    b_weight = tl.load(p_weight + o_d, mask=m_d, other=0.0).to(tl.float32)
    o_r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = o_r[:, None] * D + o_d[None, :]
    m = (o_r < rows)[:, None] & m_d[None, :]
    b_x = tl.load(p_x + o, mask=m, other=0.0).to(tl.float32)
    b_r = 1.0 / tl.sqrt(tl.sum(b_x * b_x, axis=1) / D + eps)
    b_n = b_x * b_r[:, None] * b_weight[None, :]
    tl.store(p_n + o, b_n.to(p_n.dtype.element_ty), mask=m)


@triton.jit
def residual_norm_backward(
    p_x, p_weight, p_dn, p_dy, p_dx, p_dweight, rows, D, eps, ROWS: tl.constexpr, COLS: tl.constexpr
):  # fmt: skip
    """Write dx, and each program's share of dweight."""
    o_d = tl.arange(0, COLS)
    m_d = o_d < D
    b_weight = tl.load(p_weight + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_dweight = tl.zeros([COLS], tl.float32)
    for i_r in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
        o_r = i_r + tl.arange(0, ROWS)
        o = o_r.to(tl.int64)[:, None] * D + o_d[None, :]
        m = (o_r < rows)[:, None] & m_d[None, :]
        b_x = tl.load(p_x + o, mask=m, other=0.0).to(tl.float32)
        b_dn = tl.load(p_dn + o, mask=m, other=0.0).to(tl.float32)
        b_r = 1.0 / tl.sqrt(tl.sum(b_x * b_x, axis=1) / D + eps)
        b_xr = b_x * b_r[:, None]
        b_dxr = b_dn * b_weight[None, :]
        b_mean = tl.sum(b_dxr * b_xr, axis=1) / D
        b_dx = tl.load(p_dy + o, mask=m, other=0.0).to(tl.float32)
        b_dx += b_r[:, None] * (b_dxr - b_xr * b_mean[:, None])
        tl.store(p_dx + o, b_dx.to(p_dx.dtype.element_ty), mask=m)
        b_dweight += tl.sum(b_dn * b_xr, axis=0)
    tl.store(p_dweight + tl.program_id(0) * D + o_d, b_dweight, mask=m_d)
