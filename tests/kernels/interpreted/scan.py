"""The Triton selective scan on tiny shapes, with segments so short that a few positions cross them."""

import sys
from collections.abc import Iterator

import pytest
import torch

from dnamamba.kernels import selective_scan
from dnamamba.kernels.selective_scan import triton_launch, triton_op, triton_sweeps
from tests.kernels.compiled import assert_compiled_equals_eager
from tests.kernels.scan_cut import cut_into
from tests.kernels.scan_inputs import OPTIONAL, errors, run_scan, scan_inputs, trained_inputs


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (triton_launch, triton_op, triton_sweeps):
        monkeypatch.setattr(module, "SEGMENT", 8)
    monkeypatch.setattr(triton_sweeps, "_WINDOWS", (8, 4))
    # A program takes the interpreter milliseconds, whatever its width; E x N = 12 columns leave some masked.
    monkeypatch.setattr(triton_sweeps, "_CARRY_COLUMNS", 64)


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Every torch.empty starts as NaN: what a kernel does not write, or reads too early, shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "optional", [(), OPTIONAL, *((name,) for name in OPTIONAL)], ids=lambda x: "+".join(x)
)
@pytest.mark.parametrize("chunk", [8, 64], ids=["chunks", "single"])
def test_every_argument(optional: tuple[str, ...], chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=chunk)
    inputs = scan_inputs(1, 11, 3, 4, optional=optional, seed=len(optional))
    truth = run_scan(inputs, "reference")
    found = errors(run_scan(inputs, "triton", dtype=torch.float32), truth)
    assert max(found.values()) < 2e-6, found


@pytest.mark.parametrize(
    ("B", "L", "E", "N", "chunk"),
    [
        (1, 1, 1, 4, 8),
        (2, 7, 5, 8, 8),
        (1, 16, 33, 16, 8),
        (1, 35, 3, 4, 16),
        (1, 9, 40, 32, 8),
        (2, 17, 70, 8, 24),
        # Numbers of states that no kernel holds.
        (1, 1, 1, 1, 8),
        (1, 19, 3, 5, 8),
        (2, 9, 3, 12, 64),
    ],
)
def test_sizes(B: int, L: int, E: int, N: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=chunk, workers=2)
    inputs = scan_inputs(B, L, E, N)
    found = errors(run_scan(inputs, "triton", dtype=torch.float32), run_scan(inputs, "reference"))
    assert max(found.values()) < 2e-6, found


@pytest.mark.parametrize(
    ("L", "chunk", "short", "cut", "save"),
    [
        (48, 16, 2, (2, 4), False),  # 16 16 | 8 8
        (45, 16, 2, (1, 5), True),  # 16 | 8 8 8 5
        (40, 24, 1, (1, 3), True),  # 24 | 8 8
        (33, 16, 4, (0, 5), False),  # 8 8 8 8 1
    ],
)
def test_short_chunks_at_the_end(
    L: int, chunk: int, short: int, cut: tuple[int, int], save: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With so few rows of the carry at a time that it goes around several times, both ways."""
    cut_into(monkeypatch, chunk=chunk, short=short)
    monkeypatch.setattr(triton_sweeps, "_CARRY_ROWS", 2)
    config = triton_op.forward_config(triton_op.launch_config(2, L, 3, 4, 1), 2, L, 1)
    assert (config.long, config.chunks) == cut
    inputs = scan_inputs(2, L, 3, 4)
    if save:
        found = errors(run_scan(inputs, "triton", dtype=torch.float32), run_scan(inputs, "reference"))
    else:
        with torch.no_grad():
            ours, truth = (
                selective_scan(
                    **{k: x.to(dtype) for k, x in inputs.items()}, dt_softplus=True, backend=backend
                )
                for backend, dtype in (("triton", torch.float32), ("reference", torch.float64))
            )
        found = errors(ours._asdict(), truth._asdict())
    assert max(found.values()) < 2e-6, found


@pytest.mark.parametrize(("groups", "E", "tiles"), [(1, 150, 3), (3, 200, 4)])
def test_one_program_adds_up_its_tiles(
    groups: int, E: int, tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into(monkeypatch, chunk=8, groups=groups, workers=1)
    inputs = scan_inputs(1, 10, E, 8)
    assert triton_launch.launch_config(1, 10, E, 8, 1).tiles == tiles
    found = errors(run_scan(inputs, "triton", dtype=torch.float32), run_scan(inputs, "reference"))
    assert max(found.values()) < 2e-6, found


def test_without_softplus() -> None:
    inputs = scan_inputs(1, 11, 3, 4, optional=("D", "z", "initial_state"), softplus=False)
    truth = run_scan(inputs, "reference", softplus=False)
    found = errors(run_scan(inputs, "triton", dtype=torch.float32, softplus=False), truth)
    assert max(found.values()) < 2e-6, found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_inputs_of_trained_models_within_twice_eager_error(dtype: torch.dtype) -> None:
    inputs = trained_inputs(1, 21, 3, 4)
    truth = run_scan(inputs, "reference", softplus=False)
    eager = run_scan(inputs, "reference", dtype=dtype, softplus=False)
    ours = run_scan(inputs, "triton", dtype=dtype, softplus=False)
    for name, true in truth.items():
        rounding = torch.finfo(eager[name].dtype).eps * true.abs().max()
        budget = 2 * ((eager[name].double() - true).abs().max() + rounding)
        assert (ours[name].double() - true).abs().max() <= budget, name


def test_strided_inputs_equal_dense_ones_bit_for_bit() -> None:
    inputs = {name: x.float() for name, x in scan_inputs(2, 9, 5, 4).items()}
    wide = torch.cat([inputs["u"], inputs["z"]], dim=-1)
    narrow = torch.cat([inputs["dt"][..., :1], inputs["B"], inputs["C"]], dim=-1)
    views = {"u": wide[..., :5], "z": wide[..., 5:], "B": narrow[..., 1:5], "C": narrow[..., 5:]}
    views["dt"] = inputs["dt"].transpose(1, 2).contiguous().transpose(1, 2)
    dense = selective_scan(**inputs, dt_softplus=True, backend="triton")
    strided = selective_scan(**{**inputs, **views}, dt_softplus=True, backend="triton")
    assert torch.equal(dense.y, strided.y)
    assert torch.equal(dense.state, strided.state)


def test_two_halves_equal_the_whole() -> None:
    inputs = {name: x.float() for name, x in scan_inputs(1, 20, 3, 4).items()}
    first = {n: x[:, :13] if n in ("u", "dt", "B", "C", "z") else x for n, x in inputs.items()}
    second = {n: x[:, 13:] if n in ("u", "dt", "B", "C", "z") else x for n, x in inputs.items()}
    whole = selective_scan(**inputs, dt_softplus=True, backend="triton")
    before = selective_scan(**first, dt_softplus=True, backend="triton")
    after = selective_scan(**{**second, "initial_state": before.state}, dt_softplus=True, backend="triton")
    torch.testing.assert_close(torch.cat([before.y, after.y], dim=1), whole.y, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after.state, whole.state, rtol=1e-5, atol=1e-6)


def test_fp64_and_too_many_states_are_refused() -> None:
    with pytest.raises(ValueError, match=r"computes in fp32, but u is torch\.float64"):
        run_scan(scan_inputs(1, 3, 2, 4), "triton")
    with pytest.raises(ValueError, match=r"holds at most 32 states a channel \(A has N = 33\)"):
        run_scan(scan_inputs(1, 3, 2, 33), "triton", dtype=torch.float32)


def test_the_operators_describe_themselves() -> None:
    inputs = {name: x.float() for name, x in scan_inputs(1, 9, 3, 3).items()}
    order = ("u", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_state")
    tensors = [*(inputs[name] for name in order), None]
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(triton_op.scan_forward_op, (*tensors, True, True), test_utils=checks)
    y, last, saved = triton_op.scan_forward(*tensors, True, True)
    arguments = (torch.ones_like(y), torch.ones_like(last), *tensors, saved, True, True)
    torch.library.opcheck(triton_op.scan_backward_op, arguments, test_utils=checks)
    assert torch.equal(triton_op.scan_backward(*arguments)[-1], y)


@pytest.mark.parametrize("optional", [(), OPTIONAL])
def test_compiled_scan_equals_eager_one_bit_for_bit(
    optional: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a GPU, where the dispatch asks nothing of triton; a graph can't hold the question put elsewhere.
    monkeypatch.setattr(sys.modules[selective_scan.__module__], "resolve", lambda *_: "triton")
    inputs = {name: x.float() for name, x in scan_inputs(1, 9, 3, 4, optional=optional).items()}

    def scan(values: dict[str, torch.Tensor]) -> torch.Tensor:
        y, last = selective_scan(**values, dt_softplus=True, backend="triton")
        return torch.cat([y.flatten(), last.flatten()])

    assert_compiled_equals_eager(scan, inputs)


def test_a_second_derivative_is_refused() -> None:
    inputs = {name: x.float().requires_grad_() for name, x in scan_inputs(1, 9, 3, 4).items()}
    y = selective_scan(**inputs, dt_softplus=True, backend="triton").y
    (du,) = torch.autograd.grad(y.sin().sum(), inputs["u"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        du.sum().backward()


def test_fake_tensors_see_the_operators() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        inputs = {name: torch.empty(x.shape).requires_grad_() for name, x in scan_inputs(1, 9, 3, 4).items()}
        y, last = selective_scan(**inputs, dt_softplus=True, backend="triton")
        (y.sum() + last.sum()).backward()
    assert (y.shape, last.shape) == ((1, 9, 3), (1, 3, 4))
    assert all(x.grad is not None and x.grad.shape == x.shape for x in inputs.values())
