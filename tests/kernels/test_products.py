"""Which products of a block are its own kernel's, and that GPUs have room for them; no GPU is needed."""

import pytest
import torch
import torch.nn.functional as F

triton = pytest.importorskip("triton", reason="triton is published for Linux on x86-64 alone")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from dnamamba.kernels.mamba_block import products  # noqa: E402
from dnamamba.kernels.mamba_block.triton_product import product as kernel  # noqa: E402

CALLED = "the kernel"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an NVIDIA GPU, but that the kernel is only named."""
    monkeypatch.setattr(products, "runs_on", lambda device: True)
    monkeypatch.setattr(products, "product", lambda *inputs: CALLED)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("dtype", "depth", "alone", "added"),
    [
        (torch.float32, 64, True, True),
        (torch.float32, 8, False, True),
        (torch.bfloat16, 64, False, True),
        (torch.float64, 64, False, False),
    ],
)
def test_kernel_takes_products_that_it_makes_faster(
    dtype: torch.dtype, depth: int, alone: bool, added: bool
) -> None:
    x, weight, residual = (
        torch.ones(3, depth, dtype=dtype),
        torch.ones(4, depth, dtype=dtype),
        torch.ones(3, 4),
    )
    assert (products.linear(x, weight) is CALLED) == alone
    assert (products.linear_added(x, weight, residual) is CALLED) == added


@pytest.mark.usefixtures("gpu")
def test_who_allows_tf32_gets_it_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    x, weight = torch.randn(3, 64), torch.randn(4, 64)
    assert torch.equal(products.linear(x, weight), F.linear(x, weight))


def test_without_a_gpu_they_are_torchs() -> None:
    x, weight, residual = torch.randn(3, 64), torch.randn(4, 64), torch.randn(3, 4)
    assert torch.equal(products.linear(x, weight), F.linear(x, weight))
    assert torch.equal(products.linear_added(x, weight, residual), residual + F.linear(x, weight))


@pytest.mark.parametrize(("half", "capability"), [(False, 80), (True, 90), (True, 120)])
def test_tiles_fit_shared_memory_and_go_through_tensor_cores(half: bool, capability: int) -> None:
    tiles = products._HALF if half else products._FULL
    constants = {name: value for name, value in tiles.items() if name in kernel.arg_names}
    constants["HAS_RESIDUAL"] = True
    types = {name: "constexpr" if name in constants else "i32" for name in kernel.arg_names}
    types |= {name: "*fp32" for name in kernel.arg_names if name.startswith("p_")}
    if half:
        types |= {"p_x": "*bf16", "p_weight": "*bf16"}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(types) if types[name] != "constexpr"}
    found = triton.compile(
        ASTSource(kernel, types, constexprs=constants, attrs=aligned),
        target=GPUTarget("cuda", capability, 32),
        options={name: tiles[name] for name in ("num_warps", "num_stages")},
    )
    assert found.metadata.shared <= 99 * 1024
    assert ("wgmma" if capability == 90 else "mma.sync") in found.asm["ptx"]
