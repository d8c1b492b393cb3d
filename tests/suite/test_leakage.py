"""What splits have in common, counted on sequences made for it."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dnamamba.data.alphabet import get_alphabet
from dnamamba.suite.leakage import WORD, audit, compare, sketches

RNG = np.random.default_rng(0)
TRAIN = [RNG.integers(0, 4, 300).astype(np.uint8) for _ in range(50)]


def other_strand(row: np.ndarray) -> np.ndarray:
    return (3 - row[::-1]).astype(np.uint8)


def changed(row: np.ndarray, places: list[int]) -> np.ndarray:
    row = row.copy()
    row[places] = (row[places] + 1) % 4
    return row


def test_copies_reverse_complements_and_near_ones_count() -> None:
    unrelated = RNG.integers(0, 4, 300).astype(np.uint8)
    # Changes 60 bases apart spoil 21 words each: 4 of them 84 of 280 words, 10 of them most.
    four, ten = changed(TRAIN[2], [50, 110, 170, 230]), changed(TRAIN[3], list(range(15, 300, 30)))
    half = np.concatenate([TRAIN[4][:120], unrelated[:180]])  # 100 of 280 words
    test = [TRAIN[0], other_strand(TRAIN[1]), four, other_strand(four), ten, half, unrelated]
    found = compare(TRAIN, test)
    assert (found.tested, found.trained, found.identical, found.near) == (7, 50, 2, 4)
    assert str(found) == (
        "leakage: of 7 test sequences 2 (28.6%) are in training, or their reverse complements are; 4 (57.1%) "
        "share 50% of their 21-mers or more with one of 50 training sequences"
    )


def test_words_of_a_row_are_those_of_its_other_strand() -> None:
    row = TRAIN[0].copy()
    (whole,) = sketches([row])
    np.testing.assert_array_equal(whole, sketches([other_strand(row)])[0])
    assert whole.size == 300 - WORD + 1
    row[100] = 4  # N is in no word
    assert sketches([row])[0].size == whole.size - WORD
    (part,) = sketches([TRAIN[0]], share=0.5)
    assert set(part.tolist()) < set(whole.tolist())
    assert part.size == pytest.approx(whole.size / 2, abs=30)


def test_near_duplicates_of_short_sequences_are_not_counted() -> None:
    found = compare([row[:9] for row in TRAIN], [TRAIN[0][:9], other_strand(TRAIN[1][:9])])
    assert (found.identical, found.near) == (2, None)
    assert "not counted: sequences are shorter than 42 bases" in str(found)


class Drawn:
    """Data whose training sequences are drawn without end."""

    alphabet, padding, training_sequences = get_alphabet("dna"), "right", None
    drawn = 0

    def batch(self, rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
        return {"tokens": torch.from_numpy(np.stack(rows))}

    def training_batches(self, most: int, bases: int) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            self.drawn += 1
            yield self.batch(TRAIN[:20])

    def held_out_loaders(self) -> Iterator[tuple[str, list[dict[str, torch.Tensor]]]]:
        yield "test", [self.batch([TRAIN[3], TRAIN[40]])]


def test_endless_training_is_compared_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnamamba.suite.leakage.MOST_DRAWN", 90)
    data = Drawn()
    found = audit(data)  # type: ignore[arg-type]
    assert data.drawn == 5
    assert (found.tested, found.trained, found.identical, found.near) == (2, 100, 1, 1)
