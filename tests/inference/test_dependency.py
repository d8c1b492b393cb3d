"""Dependency maps, against two whole readings per replacement."""

import math

import numpy as np
import pytest
import torch

from dnamamba import Genome, LanguageModel, MambaConfig, UserError, get_alphabet
from dnamamba.data.intervals import Interval
from dnamamba.inference.dependency import dependency_map
from dnamamba.models.caduceus.config import CaduceusConfig

LETTERS = "ACGTTGCANGATTACAGG"
REGION = Interval("one", 5, 13)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">one\n{LETTERS}\n")
    return Genome(path, get_alphabet("dna"))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(MambaConfig(d_model=8, n_layer=1)).double().eval()
    torch.nn.init.normal_(made.backbone.embedding.weight)
    return made


def log2_odds(model: LanguageModel, letters: str) -> np.ndarray:
    """Of A, C, G, T at each position but the first, given all before it."""
    tokens = torch.from_numpy(get_alphabet("dna").encode(letters).astype(np.int64))[None]
    with torch.no_grad():
        shares = model(tokens).logits[0, :-1, :4].softmax(-1).numpy()
    return np.log2(shares / (1 - shares))


def slow(model: LanguageModel, letters: str, first: int, last: int) -> np.ndarray:
    """Of bases `first` to `last` of letters, by reading each changed sequence from its beginning."""
    found = np.full((last - first, last - first), np.nan)
    there = log2_odds(model, letters)
    for i in range(first, last):
        others = [letters[:i] + base + letters[i + 1 :] for base in "ACGT" if base != letters[i]]
        change = np.max([np.abs(log2_odds(model, other) - there) for other in others], axis=(0, 2))
        for j in range(i + 1, last):
            if "N" not in (letters[i], letters[j]):
                found[i - first, j - first] = change[j - 1]
    return found


def test_map_equals_whole_readings_of_each_change(genome: Genome, model: LanguageModel) -> None:
    counted: list[int] = []
    found = dependency_map(model, genome, REGION, context=3, strand="both", advance=counted.append)
    forward = slow(model, LETTERS[2:13], 3, 11)
    # The other strand reads three bases behind the region first.
    flipped = LETTERS[5:16][::-1].translate(str.maketrans("ACGT", "TGCA"))
    backward = slow(model, flipped, 3, 11)[::-1, ::-1]
    expected = np.where(np.isnan(forward), backward, forward)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert sum(counted) == 2 * REGION.length
    assert int(np.isfinite(found).sum()) == 7 * 6  # all pairs of seven known bases
    one = dependency_map(model, genome, REGION, context=3, strand="forward")
    np.testing.assert_array_equal(one[np.triu_indices(8, 1)], found[np.triu_indices(8, 1)])
    assert np.isnan(one[np.tril_indices(8)]).all()


def test_pieces_before_the_region_change_nothing(genome: Genome, model: LanguageModel) -> None:
    whole = dependency_map(model, genome, REGION, strand="forward")
    np.testing.assert_allclose(whole, slow(model, LETTERS, 5, 13), rtol=1e-9, atol=1e-12)


def test_models_that_read_both_sides_are_refused(genome: Genome, model: LanguageModel) -> None:
    masked = LanguageModel(CaduceusConfig(d_model=8, n_layer=1))
    for match, call in (
        ("a dependency map needs a model that is causal", lambda: dependency_map(masked, genome, REGION)),
        (r"strand: must be", lambda: dependency_map(model, genome, REGION, strand="x")),
        (r"context: must be at least 0", lambda: dependency_map(model, genome, REGION, context=-1)),
    ):
        with pytest.raises(UserError, match=match):
            call()
    assert math.isnan(dependency_map(model, genome, Interval("one", 3, 4))[0, 0])
