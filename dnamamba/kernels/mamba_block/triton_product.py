# The bodies are Triton's language: ranges have two ends.
# mypy: ignore-errors
"""A matrix product that adds a residual of another dtype, and multiplies fp32 as three products in TF32.

Products of a block wait for memory, so that the residual costs no more than to read it.
"""

import triton
import triton.language as tl


@triton.jit
def product(
    p_x, p_weight, p_residual, p_y, rows, COLUMNS, DEPTH,
    ROWS: tl.constexpr, COLS: tl.constexpr, DEEP: tl.constexpr, HAS_RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Write y = x weight^T (+ residual).

    x is [rows, DEPTH], weight [COLUMNS, DEPTH], residual and y [rows, COLUMNS]. The sum is rounded
    once. Programs that read the same rows of x are neighbours.
    """
    tiles = tl.cdiv(COLUMNS, COLS)
    o_r = (tl.program_id(0) // tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o_c = tl.program_id(0) % tiles * COLS + tl.arange(0, COLS)
    m_r = (o_r < rows)[:, None]
    m_c = (o_c < COLUMNS)[None, :]
    b_y = tl.zeros([ROWS, COLS], tl.float32)
    for i_k in range(0, DEPTH, DEEP):
        o_k = i_k + tl.arange(0, DEEP)
        m_k = o_k < DEPTH
        b_x = tl.load(p_x + o_r[:, None] * DEPTH + o_k[None, :], mask=m_r & m_k[None, :], other=0.0)
        b_w = tl.load(p_weight + o_c[None, :] * DEPTH + o_k[:, None], mask=m_c & m_k[:, None], other=0.0)
        b_y = tl.dot(b_x, b_w, b_y, input_precision=PRECISION)
    o = o_r[:, None] * COLUMNS + o_c[None, :]
    if HAS_RESIDUAL:
        b_y += tl.load(p_residual + o, mask=m_r & m_c, other=0.0).to(tl.float32)
    tl.store(p_y + o, b_y.to(p_y.dtype.element_ty), mask=m_r & m_c)
