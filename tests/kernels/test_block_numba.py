"""The compiled CPU block inside a model: accuracy against float64, equal bits, when it runs."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("numba")

from dnamamba.kernels.mamba_block import is_fused, numba_forward, numba_op
from dnamamba.kernels.numba_cpu.alone import exp_alone
from dnamamba.kernels.numba_cpu.products import multiply, multiply_transposed, packed
from dnamamba.kernels.numba_cpu.threads import share
from dnamamba.models import LanguageModel, MambaConfig, State

from .scan_inputs import relative_error


def model(backend: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(d_model=48, n_layer=2, d_state=16), backend=backend).to(dtype)


def tokens(length: int, rows: int = 2) -> Tensor:
    return torch.randint(0, 4, (rows, length), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def run(
    backend: str, length: int, carried: bool, dtype: torch.dtype = torch.float32, rows: int = 2
) -> list[Tensor]:
    """Logits, states, gradients of all parameters and of the states before; the loss touches all outputs."""
    net, before, leaves = model(backend, dtype), None, []
    if carried:
        with torch.no_grad():
            state = model("reference", torch.float64)(tokens(5, rows)).state
        leaves = [x.to(dtype).requires_grad_() for block in state for x in block]
        before = tuple(type(state[0])(*leaves[i : i + 2]) for i in range(0, len(leaves), 2))
    logits, after = net(tokens(length, rows), before)
    outputs = [logits, *(x for block in after for x in block)]
    loss = sum(x.sin().sum() for x in outputs)
    return [*outputs, *torch.autograd.grad(loss, [*net.parameters(), *leaves])]


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one with each fused block."""
    calls: list[int] = []
    block = numba_op.mamba_block_numba

    def counted(*given, **options):
        calls.append(1)
        return block(*given, **options)

    monkeypatch.setattr(numba_op, "mamba_block_numba", counted)
    return calls


@pytest.mark.parametrize(("length", "carried"), [(150, False), (70, True), (2, True)])
def test_outputs_states_and_gradients(length: int, carried: bool, fused: list[int]) -> None:
    truth = run("reference", length, carried, torch.float64)
    ours = run("numba", length, carried)
    assert len(fused) == 2
    assert max(relative_error(a, b) for a, b in zip(ours, truth, strict=True)) < 1.5e-6


def test_bits_do_not_depend_on_runs_or_threads() -> None:
    first = run("numba", 210, True)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        assert all(map(torch.equal, run("numba", 210, True), first))


@pytest.mark.parametrize(("rows", "carried"), [(1, True), (2, True), (3, False)])
@pytest.mark.parametrize("threads", [1, 2])
def test_bits_do_not_depend_on_slices(
    rows: int, carried: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of sequences taken by threads, or shared slices of one; with gradients and without."""
    torch.set_num_threads(threads)
    whole = [run("numba", length, carried, rows=rows) for length in (20, 210)]
    slices = []
    one = numba_forward._Block.run

    def counted(*given: Any) -> None:
        slices.append(given[2])
        one(*given)

    monkeypatch.setattr(numba_forward._Block, "run", counted)
    monkeypatch.setattr(numba_forward, "_SLICE", 64)
    again = [run("numba", length, carried, rows=rows) for length in (20, 210)]
    assert {positions.start for positions in slices} >= {0, 128}
    for ours, theirs in zip(again, whole, strict=True):
        assert all(map(torch.equal, ours, theirs))
    with torch.no_grad():
        logits = model("numba")(tokens(210, rows)).logits
    assert carried or torch.equal(logits, whole[1][0])


def test_slices_of_packed_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence begins at a slice's first position, one before it, and one of one base within it."""
    net, bases = model("numba"), tokens(200, rows=1)
    lengths = [63, 1, 64, 1, 71]
    borders = torch.tensor([0, *lengths]).cumsum(0)
    with torch.no_grad():
        alone = [net.backbone(part).hidden for part in bases.split(lengths, dim=1)]
        monkeypatch.setattr(numba_forward, "_SLICE", 64)
        together = net.backbone(bases, cu_seqlens=borders).hidden
    assert torch.equal(together, torch.cat(alone, dim=1))


def test_exp_alone_and_its_gradient() -> None:
    x = torch.linspace(-80.0, 80.0, 1001, requires_grad=True)
    y = exp_alone(x)
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert relative_error(y, x.double().exp()) < 1e-7
    assert torch.equal(dx, y)
    beyond = exp_alone(torch.tensor([100.0, -200.0, torch.inf, torch.nan]))
    assert beyond.tolist()[:3] == [torch.inf, 0.0, torch.inf]
    assert beyond[3].isnan()


def test_nested_shares_stay_in_their_thread() -> None:
    torch.set_num_threads(3)
    inner: list[tuple[int, int]] = []

    def work(first: int, last: int) -> None:
        for _ in range(first, last):
            share(5, lambda begin, end: inner.append((begin, end)))

    share(4, work)
    assert inner == [(0, 5)] * 4
    outer: list[tuple[int, int]] = []
    share(5, lambda begin, end: outer.append((begin, end)))
    assert sorted(outer) == [(i, i + 1) for i in range(5)]


def test_a_sequence_does_not_feel_its_batch(fused: list[int]) -> None:
    net, bases = model("numba"), tokens(60, rows=3)
    with torch.no_grad():
        together = net.backbone(bases)
        alone = [net.backbone(bases[i : i + 1]) for i in range(3)]
    assert torch.equal(together.hidden, torch.cat([one.hidden for one in alone]))
    assert len(fused) == 8


@pytest.mark.parametrize("carried", [False, True])
def test_state_alone_is_that_of_a_whole_read(carried: bool) -> None:
    net = model("numba")
    with torch.no_grad():
        before: State | None = net(tokens(5)).state if carried else None
        whole = net(tokens(19), before).state
    for ours, theirs in zip(net.after(tokens(19), before), whole, strict=True):
        assert torch.equal(ours.conv, theirs.conv)
        assert torch.equal(ours.ssm, theirs.ssm)


def test_frozen_weights_keep_nothing() -> None:
    net = model("numba").requires_grad_(False)
    assert net(tokens(70)).logits.grad_fn is None


def test_autocast_runs_the_parts(fused: list[int]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        _, state = model("numba")(tokens(6))
    assert state[0].conv.dtype == torch.bfloat16
    assert not fused


@pytest.mark.parametrize(
    ("backend", "sizes", "dtype", "ranks", "expected"),
    [
        ("numba", (128, 256, 16), torch.float32, None, True),
        ("numba", (12, 256, 16), torch.float32, None, False),
        ("numba", (128, 256, 4), torch.float32, None, False),
        ("numba", (128, 256, 16), torch.bfloat16, None, False),
        ("numba", (128, 256, 16), torch.float32, object(), False),
        ("chunked", (128, 256, 16), torch.float32, None, False),
        ("triton", (12, 24, 4), torch.bfloat16, object(), True),
    ],
)
def test_which_blocks_are_fused(backend, sizes, dtype, ranks, expected: bool) -> None:
    assert is_fused(backend, sizes, [torch.float32, dtype], ranks) == expected


@pytest.mark.parametrize("sizes", [(1, 8, 16), (97, 48, 80), (1700, 40, 32)], ids=str)
def test_products_of_any_rows_and_terms(sizes: tuple[int, int, int]) -> None:
    """Strided rows, a factor per row, a summand; the sums over rows in more than one piece."""
    rows, terms, columns = sizes
    draw = np.random.default_rng(0)
    x = draw.standard_normal((rows, terms + 3), np.float32)[:, :terms]
    plus = draw.standard_normal((rows, columns + 16), np.float32)[:, :columns]
    weight, scale = draw.standard_normal((terms, columns), np.float32), draw.random(rows, np.float32)
    y = np.full((rows, columns), np.nan, np.float32)
    multiply(x, packed(weight), y, scale=scale, plus=plus)
    truth = (x.astype(float) * scale[:, None]) @ weight + plus
    assert np.linalg.norm(y - truth) < 3e-7 * np.linalg.norm(truth)
    sums, expected = multiply_transposed(x, y, scale), x.T.astype(float) @ (y * scale.astype(float)[:, None])
    assert np.linalg.norm(sums - expected) < 3e-7 * np.linalg.norm(expected)
