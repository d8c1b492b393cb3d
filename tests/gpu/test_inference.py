"""Embeddings and tracks on the GPU equal those of the CPU, within float32's rounding and bfloat16's."""

import copy

import numpy as np
import pytest
import torch

from dnamamba import LanguageModel, MambaConfig, embed, tracks
from dnamamba.inference import streaming
from tests.inference.conftest import random_dna

pytestmark = pytest.mark.gpu

SEQUENCES = [random_dna(length, length) for length in (70, 513, 30_000, 5)]
# Relative to the largest value (of a track, to 2 bits at least): rounding of float32 over a few layers, and
# of bfloat16 activations.
BUDGET = {"fp32": 2e-5, "bf16": 3e-2}


@pytest.fixture(scope="module")
def models() -> tuple[LanguageModel, LanguageModel]:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=64, n_layer=3)).eval()
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.05)
    return model, copy.deepcopy(model).cuda()


@pytest.mark.parametrize("precision", BUDGET)
@pytest.mark.parametrize("piece", [4_096, 1 << 20])
@pytest.mark.parametrize(
    "options",
    [{}, {"strand": "both"}, {"pooling": "last", "layer": 1}, {"pool_every": 1000, "strand": "both"}],
)
def test_embeddings(
    models: tuple[LanguageModel, LanguageModel],
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    piece: int,
    options: dict,
) -> None:
    monkeypatch.setitem(streaming._PIECE, "cuda", piece)
    expected = embed(models[0], SEQUENCES, **options)
    found = embed(models[1], SEQUENCES, precision=precision, **options)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < BUDGET[precision]


@pytest.mark.parametrize("precision", BUDGET)
@pytest.mark.parametrize("strand", ["forward", "both"])
def test_tracks(
    models: tuple[LanguageModel, LanguageModel], monkeypatch: pytest.MonkeyPatch, precision: str, strand: str
) -> None:
    monkeypatch.setitem(streaming._PIECE, "cuda", 4_096)
    expected = tracks(models[0], SEQUENCES, strand=strand)
    found = tracks(models[1], SEQUENCES, strand=strand, precision=precision)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(np.isnan(a), np.isnan(b))
            assert np.nanmax(np.abs(a - b)) / max(2.0, np.nanmax(np.abs(b))) < BUDGET[precision]


def test_memory_does_not_grow_with_length(models: tuple[LanguageModel, LanguageModel]) -> None:
    def peak(length: int) -> int:
        ids = np.random.default_rng(0).integers(0, 4, length, dtype=np.uint8)
        torch.cuda.reset_peak_memory_stats()
        embed(models[1], [ids], pool_every=1000)
        return torch.cuda.max_memory_allocated()

    assert peak(1 << 24) < 1.05 * peak(1 << 22)
