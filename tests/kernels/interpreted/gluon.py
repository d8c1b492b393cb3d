"""The Gluon kernels of the selective scan, by `gluon_on_cpu`, with the rest of the scan interpreted."""

from collections.abc import Iterator
from functools import cache, partial

import pytest
import torch

from dnamamba.kernels import selective_scan
from dnamamba.kernels.selective_scan import gluon_sweeps, triton_launch, triton_op, triton_sweeps
from tests.kernels import packed
from tests.kernels.gluon_on_cpu import OnCpu
from tests.kernels.scan_cut import cut_into
from tests.kernels.scan_inputs import OPTIONAL, run_scan, scan_inputs, trained_inputs

KERNELS = ("forward_kernel", "output_kernel", "backward_kernel", "gradient_kernel")


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (triton_launch, triton_op, triton_sweeps, gluon_sweeps):
        monkeypatch.setattr(module, "SEGMENT", 16)
    # The carry is Triton's and tested with `scan`: in few programs, since each takes the interpreter 6 ms.
    monkeypatch.setattr(triton_sweeps, "_CARRY_COLUMNS", 512)


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def kernels_on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scan must fit the Gluon kernels; they are these. Copies land late unless a test says `False`.

    A target whose copy is on its way holds NaN, so that what reads it too early or fills it too early shows.
    """
    late = getattr(request, "param", True)

    def takes(inputs) -> bool:
        assert gluon_sweeps.fits(inputs)
        return True

    monkeypatch.setattr(gluon_sweeps, "takes", takes)
    for name in KERNELS:
        monkeypatch.setattr(gluon_sweeps, name, OnCpu(getattr(gluon_sweeps, name), late))


def assert_within_budget(inputs: dict[str, torch.Tensor], dtype: torch.dtype, softplus: bool) -> None:
    """At most twice what an eager run of the same dtype misses, plus one rounding of the largest value."""
    truth = run_scan(inputs, "reference", softplus=softplus)
    eager = run_scan(inputs, "reference", dtype=dtype, softplus=softplus)
    ours = run_scan(inputs, "triton", dtype=dtype, softplus=softplus)
    for name, true in truth.items():
        rounding = torch.finfo(eager[name].dtype).eps * true.abs().max()
        budget = 2 * ((eager[name].double() - true).abs().max() + rounding)
        assert (ours[name].double() - true).abs().max() <= budget, name


@pytest.mark.parametrize(
    "optional", [(), OPTIONAL, *((name,) for name in OPTIONAL)], ids=lambda x: "+".join(x)
)
@pytest.mark.parametrize("chunk", [16, 64], ids=["chunks", "single"])
def test_every_argument(optional: tuple[str, ...], chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=chunk)
    assert_within_budget(scan_inputs(1, 40, 32, 16, optional=optional), torch.bfloat16, True)


@pytest.mark.parametrize("kernels_on_the_cpu", [False], indirect=True)
@pytest.mark.parametrize("chunk", [16, 64], ids=["chunks", "single"])
def test_copies_may_land_at_once(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=chunk)
    assert_within_budget(scan_inputs(1, 40, 32, 16), torch.bfloat16, True)


@pytest.mark.parametrize(
    ("B", "L", "E", "chunk", "groups", "dtype"),
    [
        (2, 24, 96, 16, 1, torch.float16),
        (1, 72, 64, 32, 2, torch.bfloat16),
        (3, 8, 96, 16, 2, torch.bfloat16),
        (1, 24, 160, 16, 3, torch.float16),
    ],
)
def test_sizes(
    B: int, L: int, E: int, chunk: int, groups: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into(monkeypatch, chunk=chunk, groups=groups)
    assert_within_budget(scan_inputs(B, L, E, 16), dtype, True)


@pytest.mark.parametrize(("L", "short"), [(88, 2), (72, 4)])
def test_short_chunks_at_the_end(L: int, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=32, short=short)
    assert_within_budget(scan_inputs(1, L, 32, 16), torch.bfloat16, True)
    x = half_precision_inputs(1, L, 32)
    saved = gradients(x)
    with torch.no_grad():
        for ours, same in zip(selective_scan(**x, dt_softplus=True, backend="triton"), saved, strict=False):
            assert torch.equal(ours, same)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_inputs_of_trained_models(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=16)
    assert_within_budget(trained_inputs(1, 48, 32, 16), dtype, False)


def half_precision_inputs(B: int, L: int, E: int) -> dict[str, torch.Tensor]:
    inputs = {name: x.float() for name, x in scan_inputs(B, L, E, 16, optional=("D", "z", "dt_bias")).items()}
    along = ("u", "dt", "B", "C", "z")
    return {name: x.bfloat16() if name in along else x for name, x in inputs.items()}


def gradients(inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """y, the last state, and gradients of everything under a dy without memory of its own."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    y, state = selective_scan(**leaves, dt_softplus=True, backend="triton")
    return (
        y,
        state,
        *torch.autograd.grad(y, list(leaves.values()), torch.ones((), dtype=y.dtype).expand_as(y)),
    )


@cache
def dense_gradients() -> tuple[torch.Tensor, ...]:
    return gradients(half_precision_inputs(2, 24, 32))


def laid_out(x: torch.Tensor, how: str) -> torch.Tensor:
    """`x` [B, L, N] with the same values elsewhere in memory."""
    B, L, N = x.shape
    if how == "dense":
        return x
    if how == "in wider rows":
        return torch.cat([x, x, x], dim=-1)[..., N : 2 * N]
    if how == "shifted by a value":
        return torch.empty(x.numel() + 1, dtype=x.dtype)[1:].view_as(x).copy_(x)
    if how == "in rows of an odd length":
        return torch.empty(B, L, N + 1, dtype=x.dtype)[..., :N].copy_(x)
    assert how == "every second value"
    return torch.empty(B, L, 2 * N, dtype=x.dtype)[..., ::2].copy_(x)


ALONG = ("u", "dt", "B", "C", "z")
LAYOUTS = ("dense", "in wider rows", "shifted by a value", "in rows of an odd length", "every second value")


@pytest.mark.parametrize("turn", range(len(LAYOUTS)))
def test_other_memory_layouts_equal_dense_bit_for_bit(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each input in each layout once, beside others in other layouts: no input's strides serve another.

    In two chunks, so that all four kernels run.
    """
    cut_into(monkeypatch, chunk=16)
    inputs = half_precision_inputs(2, 24, 32)
    moved = dict(inputs)
    for i, name in enumerate(ALONG):
        moved[name] = laid_out(inputs[name], LAYOUTS[(i + turn) % len(LAYOUTS)])
        assert torch.equal(moved[name], inputs[name])
    for ours, dense in zip(gradients(moved), dense_gradients(), strict=True):
        assert torch.equal(ours, dense)


@pytest.mark.parametrize("chunk", [16, 64], ids=["chunks", "single"])
def test_the_backward_writes_y_again(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=chunk)
    x = half_precision_inputs(1, 40, 64)
    arguments = [x[name] for name in ("u", "dt", "A", "B", "C", "D", "z", "dt_bias")]
    y, _, saved = triton_op.scan_forward(*arguments, None, None, True, True)
    *_, again = triton_op.scan_backward(torch.ones_like(y), None, *arguments, None, None, saved, True, True)
    assert torch.equal(again, y)


@pytest.mark.parametrize(("chunk", "gated"), [(16, False), (64, True)], ids=["chunks", "single, gated"])
def test_reading_from_the_end_equals_flipped_copies_bit_for_bit(
    chunk: int, gated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into(monkeypatch, chunk=chunk)
    x = half_precision_inputs(2, 40, 32)
    x["B"], x["C"] = (laid_out(x[name], "in wider rows") for name in "BC")
    found = []
    for reverse in (True, False):
        given = x if reverse else {name: v.flip(1) if name in ALONG else v for name, v in x.items()}
        arguments = [given[name] for name in ("u", "dt", "A", "B", "C", "D", "z", "dt_bias")]
        arguments[6] = given["z"] if gated else None
        y, last, saved = triton_op.scan_forward(*arguments, None, None, True, True, None, reverse)
        dy = given["z"].sin()
        gradients = triton_op.scan_backward(
            dy, last, *arguments, None, None, saved, True, True, None, reverse
        )
        found.append([y, last, *gradients])
        assert torch.equal(gradients[-1], y)
    for ours, flipped in zip(*found, strict=True):
        assert torch.equal(ours.flip(1) if ours.shape[:2] == (2, 40) else ours, flipped)


@pytest.mark.parametrize("chunk", [16, 64], ids=["chunks", "single"])
def test_a_row_of_sequences_equals_one_by_one(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sequences one by one have lengths that only the Triton kernels and the reference take."""
    cut_into(monkeypatch, chunk=chunk)
    given, ends = (
        scan_inputs(1, 40, 32, 16, optional=("D", "z", "dt_bias")),
        packed.cumulative([1, 7, 8, 9, 3, 12]),
    )

    def run(backend: str, x: dict[str, torch.Tensor], cu_seqlens: torch.Tensor | None = None) -> torch.Tensor:
        low = {name: v.bfloat16() if v.dim() == 3 else v.float() for name, v in x.items()}
        given = low if backend == "triton" else x
        return selective_scan(**given, dt_softplus=True, cu_seqlens=cu_seqlens, backend=backend).y

    given = {name: x.bfloat16().double() if x.dim() == 3 else x for name, x in given.items()}
    truth = packed.one_by_one(given, ends, partial(run, "reference"))
    packed.assert_close(packed.gradients(given, partial(run, "triton", cu_seqlens=ends)), truth, 5e-3)
