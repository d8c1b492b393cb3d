"""Scores of variants without training, against slower ways to the same numbers."""

import numpy as np
import pytest
import torch

from dnamamba import LanguageModel, MambaConfig
from dnamamba.data.markov import MarkovModel
from dnamamba.heads.metrics import spearman
from dnamamba.suite.brca1 import Brca1, Measured
from dnamamba.suite.loci import (
    Change,
    Loci,
    auroc,
    likelihood_ratios,
    markov_ratios,
    mean_spearman,
    transversions,
)

RNG = np.random.default_rng(1)
LETTERS = {name: "".join(RNG.choice(list("ACGT"), 40)) for name in ("one", "two")}
CHANGES = [
    Change(name, place, LETTERS[name][place - 1], alt)
    for name, place in (("two", 40), ("one", 1), ("one", 20), ("two", 7))
    for alt in "ACGT"
    if alt != LETTERS[name][place - 1]
]


def mutated(change: Change) -> str:
    letters = LETTERS[change.name]
    return letters[: change.position - 1] + change.alt + letters[change.position :]


def test_markov_ratio_is_that_of_whole_loci() -> None:
    loci = Loci(LETTERS, "dna")
    model = MarkovModel.fit([loci.fetch(name) for name in loci.names], 3)
    flip = loci.alphabet.reverse_complement

    def bits(letters: str) -> float:
        ids = loci.alphabet.encode(letters)
        return (model.bits(ids[None])[0] + model.bits(flip(ids)[None])[0]) / 2

    slow = [(bits(LETTERS[one.name]) - bits(mutated(one))) * np.log(2) for one in CHANGES]
    np.testing.assert_allclose(markov_ratios(3, loci, CHANGES), slow, rtol=1e-9, atol=1e-12)


def test_likelihood_ratio_is_that_of_two_whole_readings() -> None:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=8, n_layer=1)).double().eval()
    loci = Loci(LETTERS, "dna")

    def nats(letters: str) -> float:
        ids, total = loci.alphabet.encode(letters), 0.0
        for strand in (ids, loci.alphabet.reverse_complement(ids)):
            tokens = torch.from_numpy(strand.copy())[None].long()
            with torch.no_grad():
                log_p = model(tokens).logits.log_softmax(-1)
            total += log_p[0, :-1].gather(1, tokens[0, 1:, None]).sum().item()
        return total / 2

    slow = [nats(mutated(one)) - nats(LETTERS[one.name]) for one in CHANGES]
    np.testing.assert_allclose(likelihood_ratios(model, loci, CHANGES, 128), slow, rtol=1e-6, atol=1e-9)


def test_intervals_are_those_of_draws_of_variants() -> None:
    scores, lost = np.array([3.0, 2.0, 1.0, 2.0]), np.array([True, True, False, False])
    value, low, high = auroc(scores, lost, 200, 0)
    assert value == 0.875  # of four pairs three are right and one is tied
    assert 0 <= low < value < high == 1.0
    groups = [(np.arange(50.0), np.arange(50.0)), (np.arange(50.0), -np.arange(50.0))]
    assert mean_spearman(groups, 20, 0)[0] == pytest.approx(0, abs=1e-12)
    noisy = np.arange(50.0) + RNG.normal(0, 20, 50)
    value, low, high = mean_spearman([(np.arange(50.0), noisy)], 200, 0)
    assert value == spearman(torch.arange(50.0).double(), torch.from_numpy(noisy))
    assert low < value < high


def test_brca1_says_unlikely_changes_lose_function() -> None:
    rows = [Measured(Change("17", i, "A", "C"), i < 3, float(i), float(i)) for i in range(6)]
    row = Brca1()._row("zero_shot", "", -np.arange(6.0), rows, 0)
    assert (row.value, row.examples) == (1.0, 6)


def test_transitions_are_between_like_bases() -> None:
    pairs = ["AG", "GA", "CT", "TC", "AC", "GT"]
    assert transversions([Change("x", 1, *pair) for pair in pairs]).tolist() == [0, 0, 0, 0, 1, 1]
