# The bodies are Triton's language.
# mypy: ignore-errors
"""The gate that both directions share, y = (a + b) silu(z), and its gradients, each in one pass over memory.

da = db = dy silu(z)          dz = dy (a + b) silu'(z)
"""

import triton
import triton.language as tl

from dnamamba.kernels.triton_math import sigmoid


@triton.jit
def gate_forward(p_a, p_b, p_z, p_y, size, BLOCK: tl.constexpr, FAST: tl.constexpr):
    """Write y; all are dense, of `size` elements."""
    o = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m = o < size
    b_z = tl.load(p_z + o, mask=m, other=0.0).to(tl.float32)
    b_s = tl.load(p_a + o, mask=m, other=0.0).to(tl.float32)
    b_s += tl.load(p_b + o, mask=m, other=0.0).to(tl.float32)
    tl.store(p_y + o, (b_s * b_z * sigmoid(b_z, FAST)).to(p_y.dtype.element_ty), mask=m)


@triton.jit
def gate_gradient(p_dy, p_z, p_da, size, BLOCK: tl.constexpr, FAST: tl.constexpr):
    """Write da."""
    o = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m = o < size
    b_z = tl.load(p_z + o, mask=m, other=0.0).to(tl.float32)
    b_dy = tl.load(p_dy + o, mask=m, other=0.0).to(tl.float32)
    tl.store(p_da + o, (b_dy * b_z * sigmoid(b_z, FAST)).to(p_da.dtype.element_ty), mask=m)


@triton.jit
def gate_backward(p_a, p_b, p_z, p_dy, p_y, p_dz, size, BLOCK: tl.constexpr, FAST: tl.constexpr):
    """Write y again, and dz. They may be a and b: each element is read before it is written."""
    o = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m = o < size
    b_z = tl.load(p_z + o, mask=m, other=0.0).to(tl.float32)
    b_dy = tl.load(p_dy + o, mask=m, other=0.0).to(tl.float32)
    b_s = tl.load(p_a + o, mask=m, other=0.0).to(tl.float32)
    b_s += tl.load(p_b + o, mask=m, other=0.0).to(tl.float32)
    b_sigma = sigmoid(b_z, FAST)
    tl.store(p_y + o, (b_s * b_z * b_sigma).to(p_y.dtype.element_ty), mask=m)
    b_dz = b_dy * b_s * b_sigma * (1.0 + b_z * (1.0 - b_sigma))
    tl.store(p_dz + o, b_dz.to(p_dz.dtype.element_ty), mask=m)
