"""The compiled CPU block inside a model: accuracy against float64, equal bits, when it runs."""

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("numba")

from dnamamba.kernels.mamba_block import is_fused, numba_op
from dnamamba.kernels.numba_cpu.products import multiply, multiply_transposed, packed
from dnamamba.models import LanguageModel, MambaConfig, State

from .scan_inputs import relative_error


def model(backend: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(d_model=48, n_layer=2, d_state=16), backend=backend).to(dtype)


def tokens(length: int, rows: int = 2) -> Tensor:
    return torch.randint(0, 4, (rows, length), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def run(backend: str, length: int, carried: bool, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Logits, states, gradients of all parameters and of the states before; the loss touches all outputs."""
    net, before, leaves = model(backend, dtype), None, []
    if carried:
        with torch.no_grad():
            state = model("reference", torch.float64)(tokens(5)).state
        leaves = [x.to(dtype).requires_grad_() for block in state for x in block]
        before = tuple(type(state[0])(*leaves[i : i + 2]) for i in range(0, len(leaves), 2))
    logits, after = net(tokens(length), before)
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
