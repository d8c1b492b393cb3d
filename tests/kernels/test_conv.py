"""The causal convolution, CPU backends: against torch's own, across blocks, with the state carried."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels import causal_conv1d
from dnamamba.kernels.causal_conv1d import chunked

from .scan_inputs import Tensors, relative_error

BACKENDS = ["reference", "chunked"]
# L below, at and beyond K-1; one and several blocks; K = 1 has no state.
SIZES = [
    (2, 1, 3, 4),
    (1, 2, 5, 4),
    (3, 3, 2, 4),
    (2, 7, 17, 4),
    (1, 64, 1, 2),
    (2, 65, 64, 3),
    (2, 1000, 17, 4),
    (2, 9, 3, 1),
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few hundred positions be many blocks, the last of them shorter."""
    monkeypatch.setattr(chunked, "FILL_BLOCK", 64)


def conv_inputs(B: int, L: int, E: int, K: int, *, bias: bool = True, state: bool = True) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (B, L, E), "weight": (E, K)}
    if bias:
        shapes["bias"] = (E,)
    if state:
        shapes["initial_state"] = (B, K - 1, E)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).float().double()
        for name, shape in shapes.items()
    }


def torch_convolution(inputs: Tensors, activation: str | None) -> tuple[Tensor, Tensor]:
    x, weight = inputs["x"], inputs["weight"]
    (B, L, E), K = x.shape, weight.shape[1]
    state = inputs.get("initial_state", x.new_zeros(B, K - 1, E))
    history = torch.cat([state, x], dim=1)
    y = F.conv1d(history.mT, weight[:, None], inputs.get("bias"), groups=E).mT
    return F.silu(y) if activation else y, history[:, L:]


def with_gradients(inputs: Tensors, run, dtype: torch.dtype) -> list[Tensor]:
    """Return y, state and the gradient of every input, under random weights."""
    leaves = {name: x.to(dtype).requires_grad_() for name, x in inputs.items()}
    outputs = run(leaves)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(out.shape, generator=generator, dtype=torch.float64) for out in outputs]
    loss = sum((out.double() * weight).sum() for out, weight in zip(outputs, weights, strict=True))
    return [*outputs, *torch.autograd.grad(loss, list(leaves.values()))]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize(
    ("backend", "dtype", "limit"),
    [
        ("reference", torch.float64, 1e-14),
        ("chunked", torch.float64, 1e-14),
        ("chunked", torch.float32, 2e-6),
        ("numba", torch.float32, 2e-6),
    ],
)
def test_against_torch(size, activation, backend: str, dtype: torch.dtype, limit: float) -> None:
    for options in ({}, {"bias": False}, {"state": False}, {"bias": False, "state": False}):
        inputs = conv_inputs(*size, **options)
        truth = with_gradients(inputs, lambda v: torch_convolution(v, activation), torch.float64)
        ours = with_gradients(
            inputs, lambda v: causal_conv1d(**v, activation=activation, backend=backend), dtype
        )
        for value, expected in zip(ours, truth, strict=True):
            assert value.shape == expected.shape
            if expected.numel():
                assert relative_error(value, expected) < limit


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend: str) -> None:
    inputs = conv_inputs(2, 6, 2, 4)
    leaves = tuple(x.requires_grad_() for x in inputs.values())

    def convolve(*values: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(inputs, values, strict=True))
        return tuple(causal_conv1d(**named, activation="silu", backend=backend))

    assert torch.autograd.gradcheck(convolve, leaves, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("at", [1, 2, 3, 31, 69])
def test_a_sequence_is_its_two_halves(at: int, backend: str) -> None:
    inputs = conv_inputs(2, 70, 5, 4)

    def convolve(values: Tensors) -> tuple[Tensor, Tensor]:
        return tuple(causal_conv1d(**values, activation="silu", backend=backend))

    def halves(values: Tensors) -> tuple[Tensor, Tensor]:
        y_first, state = convolve(values | {"x": values["x"][:, :at]})
        y_second, state = convolve(values | {"x": values["x"][:, at:], "initial_state": state})
        return torch.cat([y_first, y_second], dim=1), state

    whole = with_gradients(inputs, convolve, torch.float64)
    for half, expected in zip(with_gradients(inputs, halves, torch.float64), whole, strict=True):
        assert relative_error(half, expected) < 1e-14


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("t", [0, 1, 20, 39])
def test_causality_is_exact(t: int, backend: str) -> None:
    inputs = {name: x.float() for name, x in conv_inputs(2, 40, 5, 4).items()}
    y = causal_conv1d(**inputs, activation="silu", backend=backend).y
    changed = inputs["x"].clone()
    changed[:, t] += 1.0
    other = causal_conv1d(**inputs | {"x": changed}, activation="silu", backend=backend).y
    differs = (other != y).flatten(2).any(2).any(0)
    assert differs.nonzero().flatten().tolist() == list(range(t, min(t + 4, 40)))


def test_a_sequence_does_not_feel_its_batch() -> None:
    inputs = {name: x.float() for name, x in conv_inputs(5, 40, 16, 4).items()}
    together = causal_conv1d(**inputs, activation="silu", backend="chunked").y
    for b in range(5):
        one = inputs | {name: inputs[name][b : b + 1] for name in ("x", "initial_state")}
        assert torch.equal(causal_conv1d(**one, activation="silu", backend="chunked").y, together[b : b + 1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_dtypes_are_rounded_once(dtype: torch.dtype, backend: str) -> None:
    """Activations in half precision, parameters in fp32, arithmetic in fp32."""
    inputs = {name: x.float() for name, x in conv_inputs(2, 50, 16, 4).items()}
    half = inputs | {name: inputs[name].to(dtype) for name in ("x", "initial_state")}
    full = inputs | {name: half[name].float() for name in ("x", "initial_state")}
    with torch.autocast("cpu", dtype=dtype):
        ours = causal_conv1d(**half, activation="silu", backend=backend)
    expected = causal_conv1d(**full, activation="silu", backend=backend)
    assert ours.y.dtype == ours.state.dtype == dtype
    assert torch.equal(ours.y, expected.y.to(dtype))
    assert torch.equal(ours.state, half["x"][:, -3:])


def test_half_gradients() -> None:
    inputs = conv_inputs(2, 50, 16, 4)
    inputs["x"] = inputs["x"].bfloat16().double()

    def run(backend: str, dtype: torch.dtype):
        return lambda v: causal_conv1d(**v | {"x": v["x"].to(dtype)}, activation="silu", backend=backend)

    truth = with_gradients(inputs, run("reference", torch.float64), torch.float64)
    ours = with_gradients(inputs, run("chunked", torch.bfloat16), torch.float32)
    for value, expected in zip(ours, truth, strict=True):
        # y, and the gradient that arrives at it, are rounded once each.
        assert relative_error(value, expected) < torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_inputs(backend: str) -> None:
    """Half of a projection, a transposed tensor, a filter bank stored by position."""
    plain = conv_inputs(2, 41, 8, 4)
    x = plain["x"]
    for strided in (torch.cat([x, x + 1], dim=-1).chunk(2, dim=-1)[0], x.mT.contiguous().mT):
        values = plain | {"x": strided, "weight": plain["weight"].t().contiguous().t()}
        assert not any(values[name].is_contiguous() for name in ("x", "weight"))
        results = [
            with_gradients(v, lambda v: causal_conv1d(**v, activation="silu", backend=backend), torch.float64)
            for v in (plain, values)
        ]
        for one, other in zip(*results, strict=True):
            assert relative_error(other, one) < 1e-14


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_state_does_not_keep_the_sequence_alive(backend: str) -> None:
    state = causal_conv1d(torch.zeros(1, 1000, 8), torch.ones(8, 4), backend=backend).state
    assert state.untyped_storage().nbytes() == 3 * 8 * 4


def test_only_inputs_are_kept_for_the_backward_pass() -> None:
    inputs = {name: x.float().requires_grad_() for name, x in conv_inputs(2, 300, 8, 4).items()}
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        causal_conv1d(**inputs, activation="silu", backend="chunked")
    assert {x.data_ptr() for x in kept} <= {x.data_ptr() for x in inputs.values()}
    assert any(x.data_ptr() == inputs["x"].data_ptr() for x in kept)
