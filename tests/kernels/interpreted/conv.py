"""The Triton causal convolution on tiny shapes."""

import sys
from collections.abc import Iterator

import pytest
import torch

from dnamamba.kernels import causal_conv1d
from dnamamba.kernels.causal_conv1d import triton_op
from tests.kernels.compiled import assert_compiled_equals_eager


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks of four positions, and every torch.empty starts as NaN."""
    for sizes in (triton_op._FORWARD, triton_op._BACKWARD):
        monkeypatch.setitem(sizes, "ROWS", 4)
    monkeypatch.setattr(triton_op, "_LOOPS", 2)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def run(inputs: dict[str, torch.Tensor], backend: str, dtype: torch.dtype, activation: str | None) -> list:
    leaves = {name: x.to(dtype).requires_grad_() for name, x in inputs.items()}
    y, state = causal_conv1d(**leaves, activation=activation, backend=backend)
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (o.double() * torch.randn(o.shape, generator=generator, dtype=torch.float64)).sum()
        for o in (y, state)
    )
    return [y.detach(), state.detach(), *torch.autograd.grad(loss, list(leaves.values()))]


def draw(B: int, L: int, E: int, K: int, optional: tuple[str, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (B, L, E), "weight": (E, K), "bias": (E,), "initial_state": (B, K - 1, E)}
    names = ("x", "weight", *optional)
    return {n: torch.randn(shapes[n], generator=generator).double() for n in names}


@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("optional", [(), ("bias",), ("initial_state",), ("bias", "initial_state")])
@pytest.mark.parametrize(("L", "K"), [(19, 4), (2, 4), (9, 2)])
def test_forward_and_gradients(L: int, K: int, optional: tuple[str, ...], activation: str | None) -> None:
    inputs = draw(2, L, 3, K, optional)
    truths = run(inputs, "reference", torch.float64, activation)
    for ours, truth in zip(run(inputs, "triton", torch.float32, activation), truths, strict=True):
        assert (ours - truth).norm() <= 1e-6 * truth.norm()


def test_more_channels_than_a_tile() -> None:
    inputs = draw(1, 5, 130, 4, ("bias",))
    truths = run(inputs, "reference", torch.float64, "silu")
    for ours, truth in zip(run(inputs, "triton", torch.float32, "silu"), truths, strict=True):
        assert (ours - truth).norm() <= 1e-6 * truth.norm()


def test_a_view_of_wider_rows() -> None:
    inputs = {name: x.float() for name, x in draw(1, 6, 8, 4, ("bias",)).items()}
    x = torch.cat([inputs["x"], inputs["x"]], dim=-1)[..., :8]
    dense = causal_conv1d(**inputs, backend="triton")
    assert torch.equal(causal_conv1d(**{**inputs, "x": x}, backend="triton").y, dense.y)


def test_fp64_is_refused() -> None:
    with pytest.raises(ValueError, match=r"computes in fp32, but x is torch\.float64"):
        run(draw(1, 3, 2, 4, ()), "triton", torch.float64, None)


@pytest.mark.parametrize("optional", [(), ("bias", "initial_state")])
def test_the_operators_describe_themselves(optional: tuple[str, ...]) -> None:
    inputs = {name: x.float() for name, x in draw(1, 6, 3, 4, optional).items()}
    given = (inputs.get(name) for name in ("x", "weight", "bias", "initial_state"))
    arguments = (*given, None, True)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(triton_op.convolve_op, arguments, test_utils=checks)
    torch.library.opcheck(triton_op.convolve_backward_op, (inputs["x"], *arguments), test_utils=checks)


@pytest.mark.parametrize("optional", [(), ("bias", "initial_state")])
def test_compiled_convolution_equals_eager_one_bit_for_bit(
    optional: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a GPU, where the dispatch asks nothing of triton; a graph can't hold the question put elsewhere.
    monkeypatch.setattr(sys.modules[causal_conv1d.__module__], "resolve", lambda *_: "triton")
    inputs = {name: x.float() for name, x in draw(1, 6, 3, 4, optional).items()}

    def convolve(values: dict[str, torch.Tensor]) -> torch.Tensor:
        y, state = causal_conv1d(**values, activation="silu", backend="triton")
        return torch.cat([y.flatten(), state.flatten()])

    assert_compiled_equals_eager(convolve, inputs)
