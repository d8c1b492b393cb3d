"""Sequences of many lengths in one row on a GPU, by the Triton and the Gluon kernels."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from dnamamba import LanguageModel, MambaConfig, embed
from dnamamba.kernels import causal_conv1d, selective_scan
from dnamamba.models import DecoderConfig, SequenceModel, packing
from tests.inference.conftest import random_dna
from tests.kernels.packed import assert_close, cumulative, gradients, one_by_one
from tests.kernels.scan_inputs import scan_inputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def pack_few_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PAYS_FROM", 0)


EDGES = [1, 2, 3, 1, 63, 64, 65, 4, 255, 256, 257, 1]


def lengths_of(total: int) -> list[int]:
    """Return edge cases, then lengths of 50 to 1,000, `total` positions in all."""
    draw, lengths = np.random.default_rng(0), list(EDGES)
    while sum(lengths) < total:
        lengths.append(int(min(draw.integers(50, 1001), total - sum(lengths))))
    return lengths


def low(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: x.cuda().to(dtype if x.dim() == 3 else torch.float32) for name, x in inputs.items()}


def assert_within_budget(ours: dict, eager: dict, truth: dict) -> None:
    """At most twice what an eager run of the same dtype misses, plus one rounding of the largest value."""
    for name, true in truth.items():
        rounding = torch.finfo(eager[name].dtype).eps * true.abs().max()
        budget = 2 * ((eager[name].double() - true).abs().max() + rounding)
        assert (ours[name].double() - true).abs().max() <= budget, name


# Whole blocks of half precision with N = 16 are Gluon's, the others Triton's.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("total", "E", "N"), [(1472, 96, 16), (1475, 33, 4), (4096, 256, 16)])
def test_a_scanned_row(total: int, E: int, N: int, dtype: torch.dtype) -> None:
    lengths = lengths_of(total)
    ends = cumulative(lengths)
    given = scan_inputs(1, total, E, N, optional=("D", "z", "dt_bias"))

    def run(backend: str, row: bool):  # type: ignore[no-untyped-def]
        return lambda x: (
            selective_scan(**x, dt_softplus=True, cu_seqlens=ends if row else None, backend=backend).y
        )

    inputs = low(given, dtype)
    ours = gradients(inputs, run("triton", True))
    eager = one_by_one(inputs, ends, run("reference", False))
    truth = one_by_one({n: x.double() for n, x in inputs.items()}, ends, run("reference", False))
    assert_within_budget(ours, eager, truth)
    again = gradients(inputs, run("triton", True))
    assert all(torch.equal(ours[name], again[name]) for name in ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_long_row_against_float64(dtype: torch.dtype) -> None:
    total = 2**17
    ends = cumulative(lengths_of(total))
    inputs = low(scan_inputs(1, total, 64, 16, optional=("D", "z", "dt_bias")), dtype)

    def run(backend: str):  # type: ignore[no-untyped-def]
        return lambda x: selective_scan(**x, dt_softplus=True, cu_seqlens=ends, backend=backend).y

    truth = gradients({n: x.double() for n, x in inputs.items()}, run("chunked"))
    assert_within_budget(gradients(inputs, run("triton")), gradients(inputs, run("chunked")), truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_sequence_in_a_row_equals_the_row(dtype: torch.dtype) -> None:
    inputs = low(scan_inputs(1, 3000, 64, 16, optional=("D", "z", "dt_bias")), dtype)
    rows = [
        gradients(inputs, lambda x, ends=ends: selective_scan(**x, dt_softplus=True, cu_seqlens=ends).y)
        for ends in (None, cumulative([3000]))
    ]
    # The compiler may contract other products and sums where there are starts.
    assert_close(rows[1], rows[0], 1e-6 if dtype == torch.float32 else 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", ["silu", None])
def test_a_convolved_row(dtype: torch.dtype, activation: str | None) -> None:
    lengths = lengths_of(1500)
    draw = torch.Generator().manual_seed(0)
    shapes = {"x": (1, 1500, 200), "weight": (200, 4), "bias": (200,)}
    given = {name: torch.randn(*shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
    ends, inputs = cumulative(lengths), low(given, dtype)

    def run(backend: str, row: bool):  # type: ignore[no-untyped-def]
        return lambda x: (
            causal_conv1d(**x, activation=activation, cu_seqlens=ends if row else None, backend=backend).y
        )

    eager = one_by_one(inputs, ends, run("reference", False))
    truth = one_by_one({n: x.double() for n, x in inputs.items()}, ends, run("reference", False))
    assert_within_budget(gradients(inputs, run("triton", True)), eager, truth)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_rows_answer_as_padded_ones(
    half: bool, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([*EDGES, 900, 333, 12]).cuda()
    tokens = torch.randint(0, 4, (len(lengths), 904), dtype=torch.uint8).cuda()
    decoder = DecoderConfig("regression", ("y",), mode="mean")
    net = SequenceModel(MambaConfig(d_model=64, n_layer=3), decoder).cuda()
    net.backbone.activation_checkpointing = checkpointing
    exact = copy.deepcopy(net).double()

    def outcome(model: SequenceModel) -> dict[str, Tensor]:
        with torch.autocast("cuda", torch.bfloat16, enabled=half and model is net):
            logits = model(tokens, lengths)
        weights = [p for p in model.parameters() if p.requires_grad]
        found = torch.autograd.grad(logits.square().sum(), weights)
        return {"logits": logits.detach(), **{str(i): g for i, g in enumerate(found)}}

    packed, again = outcome(net), outcome(net)
    assert all(torch.equal(packed[name], again[name]) for name in packed)
    monkeypatch.setattr(packing, "WORTH_FROM", 0)
    padded, truth = outcome(net), outcome(exact)
    for name, true in truth.items():
        ours, theirs = ((x[name].double() - true).norm() / true.norm() for x in (packed, padded))
        assert ours <= 2 * theirs + (2e-3 if half else 2e-6), name


def test_embeddings_of_packed_rows_equal_padded_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=64, n_layer=3)).eval().cuda()
    sequences = [random_dna(length, length) for length in (70, 513, 1000, 5, 64)]
    packed = embed(model, sequences, precision="fp32")
    monkeypatch.setattr(packing, "WORTH_FROM", 0)
    assert np.abs(packed - embed(model, sequences, precision="fp32")).max() < 2e-5 * np.abs(packed).max()
