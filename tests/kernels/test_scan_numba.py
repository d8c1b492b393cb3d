"""The compiled CPU scan: accuracy with all gradients, layouts, equal bits whatever the threads."""

import threading

import pytest
import torch
from torch import Tensor

pytest.importorskip("numba")

from dnamamba.kernels import causal_conv1d, selective_scan
from dnamamba.kernels.selective_scan import numba_op

from .scan_inputs import OPTIONAL, errors, relative_error, run_scan, scan_inputs, trained_inputs
from .test_scan_chunked import SIZES

ROUNDING = torch.finfo(torch.float32).eps / 2


@pytest.mark.parametrize("size", [*SIZES, (2, 130, 40, 32)], ids=str)
@pytest.mark.parametrize("softplus", [True, False])
def test_against_fp64(size: tuple[int, int, int, int], softplus: bool) -> None:
    inputs = scan_inputs(*size, softplus=softplus, optional=OPTIONAL if softplus else ())
    truth = run_scan(inputs, "reference", softplus=softplus)
    ours = run_scan(inputs, "numba", dtype=torch.float32, softplus=softplus)
    # With one channel the gradient of the bias is one number: in the first size two terms leave 1/19 of them.
    assert max(errors(ours, truth).values()) < (1e-5 if size[2] == 1 else 1e-6)


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize(
    "optional",
    [(), *((name,) for name in OPTIONAL), *(tuple(o for o in OPTIONAL if o != name) for name in OPTIONAL)],
    ids="+".join,
)
def test_every_optional_argument(optional: tuple[str, ...], softplus: bool) -> None:
    inputs = scan_inputs(2, 70, 20, 4, optional=optional, softplus=softplus)
    if not softplus and "dt_bias" in optional:
        inputs["dt_bias"] = inputs["dt_bias"].abs()
    truth = run_scan(inputs, "reference", softplus=softplus)
    ours = run_scan(inputs, "numba", dtype=torch.float32, softplus=softplus)
    assert max(errors(ours, truth).values()) < 1e-6


@pytest.mark.parametrize("size", [(2, 1000, 17, 16), (5, 300, 64, 16)], ids=str)
def test_inputs_of_trained_models(size: tuple[int, int, int, int]) -> None:
    inputs = trained_inputs(*size)
    truth = run_scan(inputs, "reference", softplus=False)
    ours = run_scan(inputs, "numba", dtype=torch.float32, softplus=False)
    assert max(errors(ours, truth).values()) < 2e-6


def scan_of_delta(delta: Tensor, **options: Tensor | bool) -> Tensor:
    """y of one step from state 1 with A = -1, C = 1, B = 0: the decay."""
    one = torch.ones(1, 1, delta.numel())
    zero = torch.zeros(1, 1, 1)
    state = torch.ones(1, delta.numel(), 1)
    A = -torch.ones(delta.numel(), 1)
    x = delta.reshape(1, 1, -1)
    return selective_scan(
        one, x, A, zero, zero + 1, initial_state=state, backend="numba", **options
    ).y.flatten()


def test_the_exponential_over_its_whole_range() -> None:
    """Within 1.5 roundings down to 1e-38, zero below, infinite above 88.4, and NaN stays NaN."""
    x = torch.linspace(-88.3, 87.3, 200_001)
    truth = torch.exp(-x.double())
    error = (scan_of_delta(x).double() - truth).abs() / truth
    assert error.max() < 3 * ROUNDING
    ends = scan_of_delta(torch.tensor([0.0, 88.5, 1e4, 1e30, -89.5, -1e4, torch.nan]))
    assert ends[:6].tolist() == [1.0, 0.0, 0.0, 0.0, torch.inf, torch.inf]
    assert ends[6].isnan()


def test_power_of_two_over_its_whole_range() -> None:
    """The decay behind a softplus, within 3 roundings and those of its exponent: log2(e), and its product.

    Below 2^-126 it is 2^-126, and NaN stays NaN.
    """
    x = torch.linspace(20.0, 87.3, 200_001)  # where softplus(x) is x
    truth = torch.exp(-x.double())
    error = (scan_of_delta(x, dt_softplus=True).double() - truth).abs() / truth
    assert ((error - 3 * ROUNDING) / x).max() < 1.25 * ROUNDING
    ends = scan_of_delta(torch.tensor([-200.0, 88.0, 1e30, torch.nan]), dt_softplus=True)
    assert ends[:3].tolist() == [1.0, 2.0**-126, 2.0**-126]
    assert ends[3].isnan()


def test_softplus_keeps_its_relative_precision() -> None:
    """Read off the drive of one step: y = delta u B C from state zero."""
    x = torch.linspace(-80.0, 60.0, 100_001)
    one = torch.ones(1, 1, 1)
    y = selective_scan(
        torch.ones(1, 1, x.numel()), x.view(1, 1, -1), -torch.ones(x.numel(), 1), one, one,
        dt_softplus=True, backend="numba",
    ).y.flatten()  # fmt: skip
    truth = torch.nn.functional.softplus(x.double(), threshold=1000)
    assert ((y.double() - truth).abs() / truth).max() < 8 * ROUNDING


@pytest.mark.parametrize("size", [(3, 200, 48, 16), (1, 300, 256, 16)], ids=str)
def test_bits_do_not_depend_on_runs_or_threads(size: tuple[int, int, int, int]) -> None:
    inputs = scan_inputs(*size)
    first = run_scan(inputs, "numba", dtype=torch.float32)
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        again = run_scan(inputs, "numba", dtype=torch.float32)
        assert all(torch.equal(again[name], first[name]) for name in first)


def test_as_many_threads_as_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part waits until all threads are at work: with fewer the barrier breaks, one thread is alone."""
    inputs = {name: x.float() for name, x in scan_inputs(4, 10, 32, 16).items()}
    kernel = numba_op.scan_forward
    seen: set[int] = set()
    barrier = threading.Barrier(3)

    def watched(*arguments: object) -> None:
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            barrier.wait(timeout=120)
        kernel(*arguments)

    monkeypatch.setattr(numba_op, "scan_forward", watched)
    torch.set_num_threads(3)
    selective_scan(**inputs, dt_softplus=True, backend="numba")
    assert len(seen) == 3
    seen.clear()
    barrier = threading.Barrier(1)
    torch.set_num_threads(1)
    selective_scan(**inputs, dt_softplus=True, backend="numba")
    assert seen == {threading.get_ident()}


def test_a_sequence_does_not_feel_its_batch() -> None:
    inputs = {name: x.float() for name, x in scan_inputs(7, 70, 20, 8).items()}
    together = selective_scan(**inputs, dt_softplus=True, backend="numba")
    for b in range(7):
        one = {name: x if name in ("A", "D", "dt_bias") else x[b : b + 1] for name, x in inputs.items()}
        alone = selective_scan(**one, dt_softplus=True, backend="numba")
        assert torch.equal(alone.y, together.y[b : b + 1])
        assert torch.equal(alone.state, together.state[b : b + 1])


@pytest.mark.parametrize("at", [1, 64, 65, 99])
def test_a_sequence_is_its_two_halves(at: int) -> None:
    """Outputs and states to the bit; gradients, the initial state's too, to rounding."""
    inputs = scan_inputs(2, 100, 20, 4)
    leaves = {name: x.float().requires_grad_() for name, x in inputs.items()}
    first = {n: x[:, :at] if n in ("u", "dt", "B", "C", "z") else x for n, x in leaves.items()}
    second = {n: x[:, at:] if n in ("u", "dt", "B", "C", "z") else x for n, x in leaves.items()}
    y_first, state = selective_scan(**first, dt_softplus=True, backend="numba")
    y_second, last = selective_scan(**second | {"initial_state": state}, dt_softplus=True, backend="numba")
    y, whole = selective_scan(**leaves, dt_softplus=True, backend="numba")
    assert torch.equal(torch.cat([y_first, y_second], dim=1), y)
    assert torch.equal(last, whole)
    weights = torch.linspace(-1, 1, 100)[:, None]
    found = [
        torch.autograd.grad((out * weights).sum() + end.sum(), list(leaves.values()))
        for out, end in ((torch.cat([y_first, y_second], dim=1), last), (y, whole))
    ]
    for half, expected in zip(*found, strict=True):
        assert relative_error(half, expected) < 1e-6


@pytest.mark.parametrize("t", [0, 1, 63, 64, 98])
def test_causality_is_exact(t: int) -> None:
    inputs = {name: x.float() for name, x in scan_inputs(2, 99, 17, 8).items()}
    y = selective_scan(**inputs, dt_softplus=True, backend="numba").y
    for name in ("u", "dt", "B", "C", "z"):
        changed = inputs[name].clone()
        changed[:, t] += 3.0
        other = selective_scan(**inputs | {name: changed}, dt_softplus=True, backend="numba").y
        assert torch.equal(other[:, :t], y[:, :t]), name
        assert not torch.equal(other[:, t], y[:, t]), name
    leaves = {name: inputs[name].requires_grad_() for name in ("u", "dt", "B", "C", "z")}
    past = selective_scan(**inputs, dt_softplus=True, backend="numba").y[:, :t].sum()
    for name, gradient in zip(leaves, torch.autograd.grad(past, list(leaves.values())), strict=True):
        assert torch.all(gradient[:, t:] == 0), name


@pytest.mark.parametrize(("E", "N"), [(32, 16), (8, 4)], ids=str)
def test_strided_inputs_give_equal_bits(E: int, N: int) -> None:
    """Halves of one projection, transposed and expanded tensors, with and without filling up."""
    B, L = 2, 70
    plain = {name: x.float() for name, x in scan_inputs(B, L, E, N).items()}
    plain["B"] = plain["B"][:, :1].expand(B, L, N).contiguous()
    strided = dict(plain)
    strided["u"], strided["z"] = torch.cat([plain["u"], plain["z"]], dim=-1).chunk(2, dim=-1)
    strided["dt"] = plain["dt"].mT.contiguous().mT
    strided["B"] = plain["B"][:, :1].expand(B, L, N)
    strided["C"] = torch.cat([torch.zeros(B, L, 3), plain["C"]], dim=-1)[..., 3:]
    strided["A"] = plain["A"].t().contiguous().t()
    strided["initial_state"] = plain["initial_state"].mT.contiguous().mT
    strided["D"] = torch.stack([plain["D"], plain["D"]], dim=-1)[:, 0]
    results = []
    for values in (plain, strided):
        leaves = {name: x.detach().requires_grad_() for name, x in values.items()}
        y, state = selective_scan(**leaves, dt_softplus=True, backend="numba")
        # The gradient that arrives is an expanded one.
        results.append([y, state, *torch.autograd.grad(y.sum() + state.sum(), list(leaves.values()))])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_dtypes(dtype: torch.dtype) -> None:
    """Activations in half precision, parameters in fp32: nothing but the results themselves is rounded."""
    inputs = scan_inputs(2, 70, 16, 8)
    for name in ("u", "dt", "B", "C", "z"):
        inputs[name] = inputs[name].to(dtype).double()
    truth = run_scan(inputs, "reference")
    ours = run_scan(inputs, "numba", dtype=dtype)
    rounding = torch.finfo(dtype).eps / 2
    for name, error in errors(ours, truth).items():
        rounded = name in ("y", "du", "ddt", "dB", "dC", "dz")
        assert ours[name].dtype == (dtype if rounded else torch.float32)
        assert error < (rounding if name == "y" else 1e-6 if name == "state" else 2 * rounding), name


def test_inputs_and_incoming_gradients_are_left_alone() -> None:
    inputs = {name: x.float() for name, x in scan_inputs(2, 70, 16, 16).items()}
    before = {name: x.clone() for name, x in inputs.items()}
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}
    outputs = selective_scan(**leaves, dt_softplus=True, backend="numba")
    incoming = [torch.ones_like(out) for out in outputs]
    torch.autograd.grad(outputs, list(leaves.values()), incoming)
    assert all(torch.all(gradient == 1) for gradient in incoming)
    assert all(torch.equal(inputs[name], before[name]) for name in before)


def test_kept_for_the_backward_pass() -> None:
    """The inputs, and one state every 64 positions; without gradients nothing."""
    B, L, E, N = 3, 1000, 32, 16
    inputs = {name: x.float().requires_grad_() for name, x in scan_inputs(B, L, E, N).items()}
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        selective_scan(**inputs, dt_softplus=True, backend="numba")
    addresses = {x.data_ptr() for x in inputs.values()}
    assert sum(x.numel() for x in kept if x.data_ptr() not in addresses) == 16 * B * E * N
    kept.clear()
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        selective_scan(**inputs, dt_softplus=True, backend="numba")
    assert not kept


def test_a_second_derivative_is_refused() -> None:
    inputs = {name: x.float() for name, x in scan_inputs(1, 4, 2, 2).items()}
    u = inputs.pop("u").requires_grad_()
    y = selective_scan(u, **inputs, dt_softplus=True, backend="numba").y
    (gradient,) = torch.autograd.grad(y.square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("at", [1, 2, 3, 127, 128, 200])
def test_a_convolution_is_its_two_halves_in_blocks(at: int) -> None:
    """Over more than one block of 128, with the gradients of history and filters, whatever the threads."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 300, 20, generator=generator, requires_grad=True)
    weight = torch.randn(20, 4, generator=generator, requires_grad=True)
    first = torch.randn(2, 3, 20, generator=generator, requires_grad=True)
    leaves = (x, weight, first)
    y, state = causal_conv1d(x, weight, activation="silu", initial_state=first, backend="numba")
    whole = [y, state, *torch.autograd.grad(y.square().sum() + state.sum(), leaves)]
    torch.set_num_threads(3)
    a, between = causal_conv1d(x[:, :at], weight, activation="silu", initial_state=first, backend="numba")
    b, state = causal_conv1d(x[:, at:], weight, activation="silu", initial_state=between, backend="numba")
    y = torch.cat([a, b], dim=1)
    halves = [y, state, *torch.autograd.grad(y.square().sum() + state.sum(), leaves)]
    assert torch.equal(halves[0], whole[0])
    assert torch.equal(halves[1], whole[1])
    for half, expected in zip(halves[2:], whole[2:], strict=True):
        assert relative_error(half, expected) < 1e-6
