"""The elementwise functions that only a GPU's fast path uses, and the scan of the interpreter made faster."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

from dnamamba.kernels.selective_scan.triton_forward import compose
from dnamamba.kernels.triton_math import exp2, log1p_over
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


@triton.jit
def power(p_x, p_y, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    tl.store(p_y + o, exp2(tl.load(p_x + o), False))


def test_power_of_two_is_right_to_a_rounding_and_ends_at_the_normal_numbers() -> None:
    x = torch.cat([torch.linspace(-126, 127.99, 4080), torch.tensor([-3e38, -127.0, 0.0, 1.0, -0.5, 0.5])])
    x = torch.cat([x, torch.full((10,), 130.0)])
    y = torch.empty_like(x)
    power[(1,)](x, y, BLOCK=4096)
    truth = torch.exp2(x[:4080].double())
    assert float((y[:4080].double() / truth - 1).abs().max()) < 1.2e-7
    assert y[4080:4084].tolist() == [2.0**-126, 2.0**-126, 1.0, 2.0]
    assert torch.all(y[4086:] == torch.inf)


@pytest.mark.parametrize("axis", [0, 1])
def test_scan_by_slices_equals_elements_bit_for_bit(axis: int) -> None:
    scan = interpreter.ScanOps(axis, compose, False)
    drawn = np.random.default_rng(0).standard_normal((2, 8, 4)).astype(np.float32)
    inputs = tuple(scan.to_tensor(each, tl.float32) for each in drawn)
    for ours, theirs in zip(scan_by_slices(scan, inputs), scan_by_elements(scan, inputs), strict=True):
        np.testing.assert_array_equal(ours.handle.data, theirs.handle.data)
