"""The Triton causal convolution on a GPU: `pytest -m gpu`."""

import pytest
import torch

from dnamamba.kernels import causal_conv1d

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("B", "L", "E"), [(1, 5000, 256), (3, 77, 130)])
def test_outputs_and_gradients_within_twice_the_eager_error(
    B: int, L: int, E: int, dtype: torch.dtype
) -> None:
    draw = torch.Generator("cuda").manual_seed(0)
    shapes = {"x": (B, L, E), "weight": (E, 4), "bias": (E,), "initial_state": (B, 3, E)}
    inputs = {n: torch.randn(s, generator=draw, device="cuda").to(dtype) for n, s in shapes.items()}
    weights = torch.randn(B, L, E, generator=draw, device="cuda", dtype=torch.float64)

    def run(backend: str, kind: torch.dtype) -> list[torch.Tensor]:
        leaves = {n: x.to(kind).requires_grad_() for n, x in inputs.items()}
        y = causal_conv1d(**leaves, activation="silu", backend=backend).y
        return [y.detach(), *torch.autograd.grad((y.double() * weights).sum(), list(leaves.values()))]

    ours, eager, truth = run("triton", dtype), run("reference", dtype), run("reference", torch.float64)
    for our, their, true in zip(ours, eager, truth, strict=True):
        rounding = torch.finfo(dtype).eps * true.abs().max()
        budget = 2 * ((their.double() - true).abs().max() + rounding)
        assert (our.double() - true).abs().max() <= budget
