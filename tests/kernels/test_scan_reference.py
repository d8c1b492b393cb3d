"""The textbook loop against the sum it stands for, and against finite differences."""

import pytest
import torch
import torch.nn.functional as F

from dnamamba.kernels import selective_scan
from dnamamba.kernels.precision import softplus

from .scan_inputs import OPTIONAL, errors, relative_error, run_scan, scan_inputs


def test_unrolled_sum() -> None:
    """y[t] = sum over s <= t of C[t] . exp((S[t] - S[s]) A) B[s] delta[s] u[s]; S adds up delta."""
    inputs = scan_inputs(2, 9, 3, 4)
    delta = F.softplus(inputs["dt"] + inputs["dt_bias"])
    total = delta.cumsum(1)
    apart = total[:, :, None] - total[:, None, :]
    decay = torch.exp(apart[..., None] * inputs["A"]) * torch.ones(9, 9).tril()[None, :, :, None, None]
    state = torch.einsum("btsen,bse,bsn->bten", decay, delta * inputs["u"], inputs["B"])
    state = state + torch.exp(total[..., None] * inputs["A"]) * inputs["initial_state"][:, None]
    y = (torch.einsum("bten,btn->bte", state, inputs["C"]) + inputs["D"] * inputs["u"]) * F.silu(inputs["z"])

    outputs = run_scan(inputs, "reference")
    assert relative_error(outputs["y"], y) < 1e-14
    assert relative_error(outputs["state"], state[:, -1]) < 1e-14


@pytest.mark.parametrize("backend", ["reference", "chunked"])
@pytest.mark.parametrize("optional", [(), OPTIONAL])
def test_gradcheck(backend: str, optional: tuple[str, ...]) -> None:
    softplus = bool(optional)
    inputs = scan_inputs(2, 5, 3, 2, optional=optional, softplus=softplus)
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}

    def scan(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(leaves, values, strict=True))
        return tuple(selective_scan(**named, dt_softplus=softplus, backend=backend))

    assert torch.autograd.gradcheck(scan, tuple(leaves.values()), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_dtypes_are_rounded_once(dtype: torch.dtype) -> None:
    """The arithmetic is fp32, so that y is the fp32 result rounded, and the state is fp32."""
    inputs = {name: x.to(dtype) for name, x in scan_inputs(2, 40, 8, 4).items()}
    half = selective_scan(**inputs, dt_softplus=True, backend="reference")
    full = selective_scan(**{k: x.float() for k, x in inputs.items()}, dt_softplus=True, backend="reference")
    assert half.y.dtype == dtype
    assert half.state.dtype == torch.float32
    assert torch.equal(half.y, full.y.to(dtype))
    assert torch.equal(half.state, full.state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_is_exact(dtype: torch.dtype) -> None:
    x = torch.tensor(
        [-700.0, -80.0, -20.0, -1e-3, 0.0, 1.0, 19.9, 20.1, 39.9, 40.1, 80.0, 600.0], dtype=dtype
    )
    truth = torch.logaddexp(x.double(), torch.zeros((), dtype=torch.float64))
    tiny = torch.finfo(dtype).tiny
    assert torch.all((softplus(x).double() - truth).abs() <= 2 * torch.finfo(dtype).eps * truth + tiny)


def test_autocast_leaves_reference_and_gradients_alone() -> None:
    inputs = scan_inputs(2, 6, 3, 4)
    plain = run_scan(inputs, "reference", dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run_scan(inputs, "reference", dtype=torch.float32)
    assert max(errors(cast, plain).values()) == 0.0
