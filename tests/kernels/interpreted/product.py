"""The block's own matrix product: sizes that no tile divides, and what is rounded."""

import pytest
import torch

from dnamamba.kernels.mamba_block.products import product


def draw(rows: int, columns: int, depth: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, rows, depth), (columns, depth), (2, rows, columns))
    x, weight, residual = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, weight, residual


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("rows", "columns", "depth"), [(1, 7, 5), (70, 136, 40), (64, 64, 96)])
def test_product_with_a_residual_of_fp32_is_rounded_once(
    rows: int, columns: int, depth: int, dtype: torch.dtype
) -> None:
    x, weight, residual = draw(rows, columns, depth)
    x, weight = x.to(dtype), weight.to(dtype)
    y = product(x, weight, residual)
    truth = residual.double() + x.double() @ weight.double().T
    assert y.dtype == torch.float32
    assert (y - truth).norm() < 3e-7 * truth.norm()


def test_product_alone_is_in_the_dtype_of_its_input() -> None:
    x, weight, _ = draw(20, 24, 32)
    y = product(x.half(), weight.half())
    truth = x.half().double() @ weight.half().double().T
    assert torch.equal(y, truth.half())
