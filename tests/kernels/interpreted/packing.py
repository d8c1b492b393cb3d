"""Sequences of many lengths in one row by the Triton and Gluon kernels, on tiny shapes."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from dnamamba.kernels import causal_conv1d, selective_scan
from dnamamba.kernels.causal_conv1d import triton_op as conv_op
from dnamamba.kernels.mamba_block import triton_op as block_op
from dnamamba.kernels.packing import starts_of
from dnamamba.kernels.selective_scan import triton_launch, triton_op, triton_sweeps
from tests.kernels.packed import assert_close, cumulative, gradients, one_by_one
from tests.kernels.scan_cut import cut_into
from tests.kernels.scan_inputs import scan_inputs, trained_inputs

K = 4
LENGTHS = [1, 2, K - 1, 7, 8, 9, 1, 1]  # around the filter's width and a segment, 32 in all


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Segments and blocks of a few positions; every torch.empty starts as NaN."""
    for module in (triton_launch, triton_op, triton_sweeps, block_op):
        monkeypatch.setattr(module, "SEGMENT", 8)
    monkeypatch.setattr(triton_sweeps, "_WINDOWS", (8, 4))
    monkeypatch.setattr(triton_sweeps, "_CARRY_COLUMNS", 64)
    for sizes in (conv_op._FORWARD, conv_op._BACKWARD):
        monkeypatch.setitem(sizes, "ROWS", 4)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def scan(
    backend: str, x: dict[str, Tensor], cu_seqlens: Tensor | None = None, softplus: bool = True
) -> Tensor:
    return selective_scan(**x, dt_softplus=softplus, cu_seqlens=cu_seqlens, backend=backend).y


def low(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.float() for name, x in inputs.items()}


@pytest.mark.parametrize(
    ("lengths", "chunk"), [(LENGTHS, 8), (LENGTHS, 64), ([3, 20, 12], 16)], ids=["many", "one", "uneven"]
)
def test_a_scanned_row_equals_one_by_one(
    lengths: list[int], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into(monkeypatch, chunk=chunk)
    given = scan_inputs(1, sum(lengths), 3, 4, optional=("D", "z", "dt_bias"))
    ends = cumulative(lengths)
    truth = one_by_one(given, ends, partial(scan, "reference"))
    found = gradients(low(given), partial(scan, "triton", cu_seqlens=ends))
    assert_close(found, truth, 2e-6)


def test_slow_states_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those whose decay of a step is 1, an A of 0 among them."""
    cut_into(monkeypatch, chunk=8)
    given = trained_inputs(1, sum(LENGTHS), 3, 4)
    del given["initial_state"]
    given["A"][:, 0], given["A"][:, 1] = 0, -1e-27
    ends = cumulative(LENGTHS)
    truth = one_by_one(given, ends, partial(scan, "reference", softplus=False))
    found = gradients(low(given), partial(scan, "triton", cu_seqlens=ends, softplus=False))
    del truth["dA"], found["dA"]  # of what is 0, in float64 too, a sum of both signs
    assert_close(found, truth, 3e-6)


@pytest.mark.parametrize("activation", ["silu", None])
def test_a_convolved_row_equals_one_by_one(activation: str | None) -> None:
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for width in (1, K):
        given = {"x": draw(1, sum(LENGTHS), 3), "weight": draw(3, width), "bias": draw(3)}
        ends = cumulative(LENGTHS)

        def run(backend: str, x: dict[str, Tensor], cu_seqlens: Tensor | None = None) -> Tensor:
            return causal_conv1d(**x, activation=activation, cu_seqlens=cu_seqlens, backend=backend).y

        truth = one_by_one(given, ends, partial(run, "reference"))
        assert_close(gradients(low(given), partial(run, "triton", cu_seqlens=ends)), truth, 1e-6)


def test_the_operators_with_starts_describe_themselves() -> None:
    given = low(scan_inputs(1, 9, 3, 4, optional=("D", "z", "dt_bias")))
    starts = starts_of(cumulative([4, 5]), given["u"])
    tensors = [given[name] for name in ("u", "dt", "A", "B", "C", "D", "z", "dt_bias")]
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(triton_op.scan_forward_op, (*tensors, None, starts, True, True), test_utils=checks)
    convolution = (given["u"], torch.rand(3, K), None, None, starts, True)
    torch.library.opcheck(conv_op.convolve_op, convolution, test_utils=checks)
