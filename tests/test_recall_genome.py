"""What studies/recall_genome.py writes: DNA with copies of four kinds."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dnamamba import get_alphabet


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "studies")
    import recall_genome

    return recall_genome


def test_copies_are_exact_mutated_or_other_strand(study: ModuleType) -> None:
    dna, random = get_alphabet("dna"), np.random.default_rng(0)
    segment = dna.encode("ACGTN" * 4000)
    exact, few, many, other = (study.copy_of(segment, kind, dna, random) for kind in range(4))
    assert np.array_equal(exact, segment)
    assert dna.decode(other) == "NACGT" * 4000
    real = segment != dna.encode("N")
    for made, share in ((few, 0.05), (many, 0.2)):
        assert np.mean(made[real] != segment[real]) == pytest.approx(share, abs=0.01)
        assert np.array_equal(made == dna.encode("N"), ~real)


def test_copy_stands_within_distance_of_its_segment(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "MUTATED", ())  # all copies are of the other strand
    dna, random = get_alphabet("dna"), np.random.default_rng(1)
    ids = dna.encode("".join(random.choice(list("ACGT"), 4096)))
    made = study.planted(ids, 500, dna, random)
    changed = [
        place for place in range(0, 4096, 256) if not np.array_equal(made[place:][:256], ids[place:][:256])
    ]
    assert changed == list(range(768, 3840, 512))  # nothing fits before the first
    text, back = dna.decode(made), dna.reverse_complement
    for place in changed:
        copied = dna.decode(back(made[place : place + 256]))
        assert 0 <= place - 256 - text.rindex(copied, 0, place) <= 500
