"""Sequences of many lengths in one row, by the backends that need no GPU."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from dnamamba.kernels import causal_conv1d, selective_scan
from dnamamba.kernels.mamba_block import BlockWeights, mamba_block
from dnamamba.kernels.packing import places, starts_of
from tests.kernels.packed import assert_close, cumulative, gradients, one_by_one
from tests.kernels.scan_inputs import scan_inputs

pytest.importorskip("numba", reason="a backend needs it")
K = 4
# Around the width of the filter and the chunks of all backends (64 here, 16 or more of `chunked`).
LENGTHS = [1, 2, K - 1, 63, 1, 64, K, 65, 1]
BACKENDS = ("reference", "chunked", "numba")
Run = Callable[..., Tensor]
Draw = Callable[[list[int]], dict[str, Tensor]]


def scan(backend: str, x: dict[str, Tensor], cu_seqlens: Tensor | None = None) -> Tensor:
    return selective_scan(**x, dt_softplus=True, cu_seqlens=cu_seqlens, backend=backend).y


def convolution(backend: str, x: dict[str, Tensor], cu_seqlens: Tensor | None = None) -> Tensor:
    return causal_conv1d(**x, activation="silu", cu_seqlens=cu_seqlens, backend=backend).y


def of_a_scan(lengths: list[int], channels: int = 16, states: int = 16) -> dict[str, Tensor]:
    return scan_inputs(1, sum(lengths), channels, states, optional=("D", "z", "dt_bias"))


def of_a_convolution(lengths: list[int], channels: int = 16) -> dict[str, Tensor]:
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {"x": draw(1, sum(lengths), channels), "weight": draw(channels, K), "bias": draw(channels)}


def as_of(inputs: dict[str, Tensor], backend: str) -> dict[str, Tensor]:
    return {name: x.float() if backend == "numba" else x for name, x in inputs.items()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("run", "inputs"), [(scan, of_a_scan), (convolution, of_a_convolution)], ids=["scan", "conv"]
)
def test_a_row_of_sequences_equals_one_by_one(run: Run, inputs: Draw, backend: str) -> None:
    given, ends = inputs(LENGTHS), cumulative(LENGTHS)
    truth = one_by_one(given, ends, partial(run, "reference"))
    packed = partial(run, backend, cu_seqlens=ends)
    found = gradients(as_of(given, backend), packed)
    assert_close(found, truth, 1e-6 if backend == "numba" else 1e-12)
    again = gradients(as_of(given, backend), packed)
    assert all(torch.equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_gradients_of_a_row_equal_differences(backend: str) -> None:
    lengths = [1, 3, 2]
    for run, given in ((scan, of_a_scan(lengths, 1, 2)), (convolution, of_a_convolution(lengths, 2))):
        leaves = [x.requires_grad_() for x in given.values()]

        def packed(*values: Tensor, run=run, names=tuple(given)) -> Tensor:  # type: ignore[no-untyped-def]
            return run(backend, dict(zip(names, values, strict=True)), cumulative(lengths))

        assert torch.autograd.gradcheck(packed, leaves)


def test_what_a_sequence_holds_never_reaches_another() -> None:
    """Bit for bit: the state is forgotten, not made small."""
    lengths = [5, 70, 3]
    given, ends = as_of(of_a_scan(lengths), "numba"), cumulative(lengths)
    changed = {name: x.clone() for name, x in given.items()}
    changed["u"][:, :5] = 1e20
    for backend in BACKENDS:
        one, other = (scan(backend, x, ends)[:, 5:] for x in (given, changed))
        assert torch.equal(one, other)


def test_the_state_is_that_after_the_last_sequence() -> None:
    lengths = [3, 66]
    given = of_a_scan(lengths)
    last = {name: x[:, 3:] if x.shape[:2] == (1, 69) else x for name, x in given.items()}
    for backend in BACKENDS:
        packed = selective_scan(
            **as_of(given, backend), dt_softplus=True, cu_seqlens=cumulative(lengths), backend=backend
        )
        alone = selective_scan(**last, dt_softplus=True, backend="reference")
        assert torch.allclose(packed.state.double(), alone.state, rtol=1e-5, atol=1e-6)


def test_numba_block_equals_one_by_one() -> None:
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(1))
    D, E, N, R, lengths = 16, 32, 16, 2, [1, 3, 64, 2, 65]
    shapes = {
        "norm": (D,), "in_proj": (2 * E, D), "conv_weight": (E, K), "conv_bias": (E,),
        "x_proj": (R + 2 * N, E), "dt_proj": (E, R), "dt_bias": (E,), "A": (E, N), "D": (E,),
        "out_proj": (D, E),
    }  # fmt: skip
    given = {name: draw(*shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    given["A"] = -given["A"].exp()
    given["x"] = draw(1, sum(lengths), D)
    ends = cumulative(lengths)

    def block(x: dict[str, Tensor], starts: Tensor | None = None) -> Tensor:
        weights = BlockWeights(**{name: x[name] for name in shapes})
        return mamba_block(x["x"], weights, eps=1e-5, dtype=torch.float32, starts=starts, backend="numba").y

    truth = one_by_one(given, ends, block)
    assert_close(gradients(given, partial(block, starts=starts_of(ends, given["x"]))), truth, 1e-6)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([0, 2, 2, 6], "sequence 1 has 0 positions"),
        ([0, 4, 3, 6], "sequence 1 has -1 positions"),
        ([0, 5], "from [0] to [5], expected 0 to 6"),
        ([1, 6], "from [1] to [6], expected 0 to 6"),
        ([], "from [] to []"),
        (
            [0, 2**31 - 1, -2, 6],
            "sequence 1 has -2147483649 positions",
        ),  # in int32 all differences are positive
    ],
)
def test_wrong_cumulative_lengths_are_refused(ends: list[int], said: str) -> None:
    given = of_a_convolution([6])
    with pytest.raises(ValueError, match=said.replace("[", r"\[").replace("]", r"\]")):
        causal_conv1d(**given, cu_seqlens=torch.tensor(ends, dtype=torch.int32))
    with pytest.raises(ValueError, match="int32 or int64"):
        causal_conv1d(**given, cu_seqlens=torch.tensor([0.0, 6.0]))
    with pytest.raises(ValueError, match="cu_seqlens is list, expected an int32 or int64 tensor"):
        causal_conv1d(**given, cu_seqlens=[0, 6])  # type: ignore[arg-type]


def test_a_row_of_sequences_with_a_state_before_it_is_refused() -> None:
    given, ends = of_a_scan([6]), cumulative([2, 4])
    with pytest.raises(ValueError, match="cu_seqlens goes without initial_state"):
        selective_scan(**given, initial_state=torch.zeros(1, 16, 16).double(), cu_seqlens=ends)
    two_rows = {name: x.expand(2, *x.shape[1:]) if x.dim() == 3 else x for name, x in given.items()}
    with pytest.raises(ValueError, match="needs one row"):
        selective_scan(**two_rows, cu_seqlens=ends)


def test_places_count_from_each_start() -> None:
    starts = starts_of(cumulative([1, 3, 6]), torch.zeros(1, 10))
    assert places(starts, 3).tolist() == [[0, 0, 1, 2, 0, 1, 2, 3, 3, 3]]
