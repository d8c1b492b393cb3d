"""The elementwise functions of the kernels that only a GPU's fast path uses, under the interpreter."""

import torch
import triton
import triton.language as tl

from dnamamba.kernels.triton_math import log1p_over


@triton.jit
def over(p_e, p_y, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(p_y + o, log1p_over(tl.load(p_e + o)))


def test_log1p_over_its_argument_has_error_it_says() -> None:
    e = torch.linspace(0, 1, 4097)[1:]
    y = torch.empty_like(e)
    over[(1,)](e, y, BLOCK=4096)
    truth = e.double().log1p() / e.double()
    error = float((y.double() / truth - 1).abs().max())
    assert 1e-6 < error < 9e-6
