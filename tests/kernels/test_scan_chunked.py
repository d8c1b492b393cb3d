"""The chunked scan: its accuracy, its symmetries, and what it keeps in memory."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from dnamamba.kernels import selective_scan
from dnamamba.kernels.selective_scan import chunked
from dnamamba.kernels.selective_scan.chunked_plan import Plan

from .scan_inputs import OPTIONAL, Tensors, errors, relative_error, run_scan, scan_inputs, trained_inputs

# One pass over all sequences; groups of sequences, the last one smaller; segments, with and without a rest.
CUTS = [Plan(5, 1, 64), Plan(2, 1, 7), Plan(1, 1, 100), Plan(1, 3, 8), Plan(1, 10, 4), Plan(1, 10, 10)]


def impose(monkeypatch: pytest.MonkeyPatch, cut: Plan) -> None:
    def plan(batch: int, length: int, channels: int, states: int) -> Plan:
        return cut._replace(segments=min(cut.segments, length))

    monkeypatch.setattr(chunked, "plan", plan)


# Every size of L, E and N, in a few of their combinations.
SIZES = [
    (2, 1, 1, 4),
    (1, 1, 64, 16),
    (3, 7, 17, 8),
    (5, 63, 64, 4),
    (1, 64, 1, 16),
    (9, 65, 17, 16),
    (1, 1000, 17, 8),
    (2, 1000, 64, 16),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("softplus", [True, False])
def test_against_fp64(size: tuple[int, int, int, int], softplus: bool) -> None:
    inputs = scan_inputs(*size, softplus=softplus, optional=OPTIONAL if softplus else ())
    truth = run_scan(inputs, "reference", softplus=softplus)
    ours = run_scan(inputs, "chunked", dtype=torch.float32, softplus=softplus)
    assert max(errors(ours, truth).values()) < 1e-6


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize(
    "optional",
    [(name,) for name in OPTIONAL]
    + [tuple(other for other in OPTIONAL if other != name) for name in OPTIONAL],
    ids="+".join,
)
def test_every_optional_argument(optional: tuple[str, ...], softplus: bool) -> None:
    """In fp64, where a term that is missing or doubled can't hide behind rounding."""
    inputs = scan_inputs(2, 21, 5, 4, optional=optional, softplus=softplus)
    if not softplus and "dt_bias" in optional:
        inputs["dt_bias"] = inputs["dt_bias"].abs()
    truth = run_scan(inputs, "reference", softplus=softplus)
    assert max(errors(run_scan(inputs, "chunked", softplus=softplus), truth).values()) < 1e-13


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_every_cut_gives_the_same(cut: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = scan_inputs(5, 103, 6, 4)
    truth = run_scan(inputs, "reference")
    impose(monkeypatch, cut)
    assert max(errors(run_scan(inputs, "chunked"), truth).values()) < 1e-13


@pytest.mark.parametrize("size", [(2, 1000, 17, 16), (5, 300, 64, 16)], ids=str)
def test_inputs_of_trained_models(size: tuple[int, int, int, int]) -> None:
    """Decays from exp(-160) to exp(-1e-7): neither overflow nor loss of digits."""
    inputs = trained_inputs(*size)
    truth = run_scan(inputs, "reference", softplus=False)
    ours = run_scan(inputs, "chunked", dtype=torch.float32, softplus=False)
    assert max(errors(ours, truth).values()) < 2e-6


@pytest.mark.parametrize("cut", [Plan(2, 1, 16), Plan(1, 4, 16)], ids=str)
@pytest.mark.parametrize("at", [1, 37, 64, 99])
def test_a_sequence_is_its_two_halves(at: int, cut: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, state and every gradient, that of the initial state too, with the state carried over."""
    impose(monkeypatch, cut)
    inputs = scan_inputs(2, 100, 6, 4)
    along_time = ("u", "dt", "B", "C", "z")

    def halves(values: Tensors) -> tuple[Tensor, Tensor]:
        first = {name: x[:, :at] if name in along_time else x for name, x in values.items()}
        second = {name: x[:, at:] if name in along_time else x for name, x in values.items()}
        y_first, state = selective_scan(**first, dt_softplus=True, backend="chunked")
        second["initial_state"] = state
        y_second, state = selective_scan(**second, dt_softplus=True, backend="chunked")
        return torch.cat([y_first, y_second], dim=1), state

    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    weights = torch.randn(2, 100, 6, dtype=torch.float64), torch.randn(2, 6, 4, dtype=torch.float64)
    results = []
    for y, state in (halves(leaves), selective_scan(**leaves, dt_softplus=True, backend="chunked")):
        loss = (y * weights[0]).sum() + (state * weights[1]).sum()
        results.append([y, state, *torch.autograd.grad(loss, list(leaves.values()))])
    for half, whole in zip(*results, strict=True):
        assert relative_error(half, whole) < 1e-13


@pytest.mark.parametrize("cut", [Plan(3, 1, 16), Plan(1, 6, 4)], ids=str)
@pytest.mark.parametrize("t", [0, 1, 15, 16, 40, 62])
def test_causality_is_exact(t: int, cut: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens at t changes no bit of y before t, and y before t has no gradient at t or after."""
    impose(monkeypatch, cut)
    inputs = {name: x.float() for name, x in scan_inputs(3, 63, 17, 8).items()}
    y = selective_scan(**inputs, dt_softplus=True, backend="chunked").y
    for name in ("u", "dt", "B", "C", "z"):
        changed = inputs[name].clone()
        changed[:, t] += 3.0
        other = selective_scan(**inputs | {name: changed}, dt_softplus=True, backend="chunked").y
        assert torch.equal(other[:, :t], y[:, :t]), name
        assert not torch.equal(other[:, t], y[:, t]), name
        if name in ("u", "dt", "B") and t < 62:
            assert not torch.equal(other[:, t + 1 :], y[:, t + 1 :]), name

    leaves = {name: inputs[name].requires_grad_() for name in ("u", "dt", "B", "C", "z")}
    past = selective_scan(**inputs, dt_softplus=True, backend="chunked").y[:, :t].sum()
    for name, gradient in zip(leaves, torch.autograd.grad(past, list(leaves.values())), strict=True):
        assert torch.all(gradient[:, t:] == 0), name


def rows_alone_and_together(inputs: Tensors) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield y, then the state, of every sequence within the batch and by itself."""
    shared = ("A", "D", "dt_bias")
    together = run_scan(inputs, "chunked", dtype=torch.float32)
    for b in range(inputs["u"].shape[0]):
        alone = {
            name: (x if name in shared else x[b : b + 1]).float().requires_grad_()
            for name, x in inputs.items()
        }
        y, state = selective_scan(**alone, dt_softplus=True, backend="chunked")
        yield together["y"][b : b + 1], y
        yield together["state"][b : b + 1], state


def test_a_sequence_does_not_feel_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, if both are cut into the same segments: every operation takes a row by itself."""
    impose(monkeypatch, Plan(3, 1, 16))
    for within, alone in rows_alone_and_together(scan_inputs(7, 50, 16, 8)):
        assert torch.equal(within, alone)


def test_batch_changes_a_sequence_by_rounding_only() -> None:
    """One sequence goes in segments, sixteen in one pass: the same sums in another order."""
    inputs = scan_inputs(16, 200, 32, 16)
    assert chunked.plan(1, 200, 32, 16).segments > 1
    assert chunked.plan(16, 200, 32, 16).segments == 1
    for within, alone in rows_alone_and_together(inputs):
        assert relative_error(within, alone) < 2 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("cut", [Plan(2, 1, 16), Plan(1, 5, 8)], ids=str)
def test_strided_inputs(cut: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves of one projection, transposed and expanded tensors; an ulp apart where torch can't use SIMD."""
    impose(monkeypatch, cut)
    B, L, E, N = 2, 41, 8, 4
    plain = {name: x.float() for name, x in scan_inputs(B, L, E, N).items()}
    plain["B"] = plain["B"][:, :1].expand(B, L, N).contiguous()
    strided = dict(plain)
    strided["u"], strided["z"] = torch.cat([plain["u"], plain["z"]], dim=-1).chunk(2, dim=-1)
    strided["dt"] = plain["dt"].mT.contiguous().mT
    strided["B"] = plain["B"][:, :1].expand(B, L, N)
    strided["C"] = torch.cat([torch.zeros(B, L, 3), plain["C"]], dim=-1)[..., 3:]
    strided["A"] = plain["A"].t().contiguous().t()
    strided["initial_state"] = plain["initial_state"].mT.contiguous().mT
    assert not any(strided[name].is_contiguous() for name in ("u", "z", "dt", "B", "C", "A", "initial_state"))

    results = []
    for values in (plain, strided):
        leaves = {name: x.detach().requires_grad_() for name, x in values.items()}
        y, state = selective_scan(**leaves, dt_softplus=True, backend="chunked")
        # The gradient that arrives is an expanded one.
        results.append([y, state, *torch.autograd.grad(y.sum() + state.sum(), list(leaves.values()))])
    for one, other in zip(*results, strict=True):
        assert relative_error(one, other) < 2 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cut", [Plan(2, 1, 16), Plan(1, 5, 8)], ids=str)
def test_half_dtypes(dtype: torch.dtype, cut: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations in half precision, parameters in fp32: nothing but the results themselves is rounded."""
    impose(monkeypatch, cut)
    inputs = scan_inputs(2, 50, 16, 8)
    for name in ("u", "dt", "B", "C", "z"):
        inputs[name] = inputs[name].to(dtype).double()
    truth = run_scan(inputs, "reference")
    ours = run_scan(inputs, "chunked", dtype=dtype)
    rounding = torch.finfo(dtype).eps / 2
    for name, error in errors(ours, truth).items():
        rounded = name in ("y", "du", "ddt", "dB", "dC", "dz")
        assert ours[name].dtype == (dtype if rounded else torch.float32)
        # The gradient that arrives at y is itself rounded to the dtype of y.
        assert error < (rounding if name == "y" else 1e-6 if name == "state" else 2 * rounding), name


@pytest.mark.parametrize("cut", [Plan(2, 1, 16), Plan(1, 5, 8)], ids=str)
def test_autocast_changes_nothing(cut: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    impose(monkeypatch, cut)
    inputs = scan_inputs(2, 41, 8, 4)
    plain = run_scan(inputs, "chunked", dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run_scan(inputs, "chunked", dtype=torch.float32)
    assert all(torch.equal(cast[name], plain[name]) for name in plain)


def test_inputs_and_incoming_gradients_are_left_alone() -> None:
    """With E = 1 a transposed state is contiguous: the scan must still not work in the caller's memory."""
    inputs = {name: x.float() for name, x in scan_inputs(2, 30, 1, 4).items()}
    before = {name: x.clone() for name, x in inputs.items()}
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}
    outputs = selective_scan(**leaves, dt_softplus=True, backend="chunked")
    incoming = [torch.ones_like(out) for out in outputs]
    torch.autograd.grad(outputs, list(leaves.values()), incoming)
    assert all(torch.all(gradient == 1) for gradient in incoming)
    assert all(torch.equal(inputs[name], before[name]) for name in before)


def test_a_second_derivative_is_refused() -> None:
    inputs = scan_inputs(1, 4, 2, 2)
    u = inputs.pop("u").requires_grad_()
    y = selective_scan(u, **inputs, dt_softplus=True, backend="chunked").y
    (gradient,) = torch.autograd.grad(y.square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
