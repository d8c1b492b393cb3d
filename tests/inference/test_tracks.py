"""Tracks equal what one forward pass says, in Python and as bigWig."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import dnamamba
from dnamamba import LanguageModel, MambaConfig, UserError, get_alphabet, tracks
from dnamamba.inference import streaming

from .conftest import random_dna

DNA = get_alphabet("dna")
LETTERS = random_dna(700)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """Predictions that differ: fresh weights say the same of every base."""
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=24, n_layer=2, d_state=4)).eval()
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.4)
    return model


def one_shot(model: LanguageModel, letters: str) -> NDArray[np.float64]:
    """Log-likelihood and entropy in bits, [2, L], by the definition."""
    ids = DNA.encode(letters)
    with torch.no_grad():
        logits = model(torch.from_numpy(ids.copy())[None]).logits[0].double().numpy()
    result = np.full((2, ids.size), math.nan)
    for i in range(1, ids.size):
        if letters[i] != "N":
            p = np.exp(logits[i - 1] - logits[i - 1].max())
            p /= p.sum()
            result[:, i] = math.log2(p[ids[i]]), -(p * np.log2(p)).sum()
    return result


def both(model: LanguageModel, letters: str) -> NDArray[np.float64]:
    forward = one_shot(model, letters)
    backward = one_shot(model, DNA.decode(DNA.reverse_complement(DNA.encode(letters))))[:, ::-1]
    with np.errstate(all="ignore"):
        mean = (forward + backward) / 2
    return np.where(np.isnan(forward), backward, np.where(np.isnan(backward), forward, mean))


@pytest.fixture(params=[13, 1 << 14], ids=["streamed", "whole"], autouse=True)
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(streaming._PIECE, "cpu", request.param)


@pytest.mark.parametrize("strand", ["forward", "both"])
def test_a_track_is_what_one_pass_says(model: LanguageModel, strand: str) -> None:
    expected = (one_shot if strand == "forward" else both)(model, LETTERS)
    assert np.nanstd(expected, axis=1).min() > 0.01
    (track,) = tracks(model, [LETTERS], strand=strand)
    np.testing.assert_allclose(np.stack(track), expected, rtol=2e-5, atol=2e-5)


def test_both_strands_of_the_reverse_complement(model: LanguageModel) -> None:
    (ours,) = tracks(model, [LETTERS], strand="both")
    (theirs,) = tracks(model, [DNA.decode(DNA.reverse_complement(DNA.encode(LETTERS)))], strand="both")
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a, b[::-1], equal_nan=True)


@pytest.mark.parametrize(
    ("start", "end", "context"), [(200, 260, 50), (20, 60, 50), (650, 700, 9), (0, 700, 5)]
)
def test_context_is_read_but_not_reported(
    model: LanguageModel, tmp_path, start: int, end: int, context: int
) -> None:
    fasta = tmp_path / "genome.fa"
    fasta.write_text(f">chr1\n{LETTERS}\n")
    region = [("chr1", start, end)]
    low, high = max(start - context, 0), min(end + context, len(LETTERS))
    (forward,) = tracks(model, (fasta, region), context=context)
    expected = one_shot(model, LETTERS[low:end])[:, start - low :]
    np.testing.assert_allclose(np.stack(forward), expected, rtol=2e-5, atol=2e-5)
    (average,) = tracks(model, (fasta, region), context=context, strand="both")
    backward = one_shot(model, DNA.decode(DNA.reverse_complement(DNA.encode(LETTERS[start:high]))))
    backward = backward[:, ::-1][:, : end - start]
    mean = np.where(
        np.isnan(expected), backward, np.where(np.isnan(backward), expected, (expected + backward) / 2)
    )
    np.testing.assert_allclose(np.stack(average), mean, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"strand": "-"}, "strand: must be one of"), ({"context": -1}, "context: must be at")],
)
def test_an_option_out_of_range(model: LanguageModel, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tracks(model, ["ACGT"], **options)


def test_the_function_is_public() -> None:
    assert dnamamba.tracks is tracks
