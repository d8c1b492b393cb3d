"""The elementwise functions that only a GPU's fast path uses, and the scan of the interpreter made faster."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

from dnamamba.kernels.selective_scan.triton_forward import compose
from dnamamba.kernels.triton_math import log1p_over
from tests.kernels.fast_interpreter import scan_by_elements, scan_by_slices


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


@pytest.mark.parametrize("axis", [0, 1])
def test_scan_by_slices_equals_elements_bit_for_bit(axis: int) -> None:
    scan = interpreter.ScanOps(axis, compose, False)
    drawn = np.random.default_rng(0).standard_normal((2, 8, 4)).astype(np.float32)
    inputs = tuple(scan.to_tensor(each, tl.float32) for each in drawn)
    for ours, theirs in zip(scan_by_slices(scan, inputs), scan_by_elements(scan, inputs), strict=True):
        np.testing.assert_array_equal(ours.handle.data, theirs.handle.data)
