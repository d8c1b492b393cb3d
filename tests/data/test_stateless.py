import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnamamba.data.stateless import permuted, random_bits

EVERY = np.arange(4096)
GOLDEN = [6, 5, 8, 7, 9, 4, 0, 2, 3, 1]
GOLDEN_LARGE = [544503084748, 280516890339, 966082695068]


@given(size=st.one_of(st.integers(1, 40), st.integers(1, 5000)), key=st.integers(0, 2**64 - 1))
@settings(max_examples=150)
def test_every_key_permutes(size, key):
    moved = permuted(np.arange(size), size, np.array([key], dtype=np.uint64))
    assert moved.dtype == np.int64
    assert sorted(moved.tolist()) == list(range(size))


def test_each_place_has_its_own_key():
    keys = random_bits(0, 9, EVERY[:300] // 100)
    place = EVERY[:300] % 100
    together = permuted(place, 100, keys)
    for row in (0, 99, 100, 250):
        assert permuted(place[row : row + 1], 100, keys[row : row + 1]) == together[row]
    assert sorted(together[100:200]) == list(range(100))
    assert together[:100].tolist() != together[100:200].tolist()


@pytest.mark.parametrize("size", [4096, 2049, 1000, 100])
def test_over_keys_a_place_is_sent_everywhere_alike(size):
    """Chi-square of where one place goes under many keys, and of the step from it to its neighbour."""
    keys = random_bits(1, 9, np.arange(40 * 1000))
    first, second = (permuted(np.full(keys.size, place), size, keys) for place in (0, 1))
    cells = 50
    for moved in (first, second, (second - first) % size):
        # Equal cells, but for the last few numbers, which no cell has; the step is never 0, hence the 1.
        width = (size - 1) // cells
        cell = (moved - 1) // width
        counts = np.bincount(cell[(moved >= 1) & (cell < cells)], minlength=cells)
        expected = counts.sum() / cells
        statistic = ((counts - expected) ** 2 / expected).sum()
        assert (cells - 1) - 4 * np.sqrt(2 * cells) < statistic < (cells - 1) + 5 * np.sqrt(2 * cells)


def test_permutation_fixes_one_place_and_keeps_no_neighbours():
    keys = random_bits(2, 9, np.arange(200))
    fixed = neighbours = 0
    for key in keys:
        moved = permuted(EVERY, EVERY.size, np.array([key]))
        fixed += np.count_nonzero(moved == EVERY)
        neighbours += np.count_nonzero(np.diff(moved) == 1)
    # Poisson of mean 200 each.
    assert 140 < fixed < 270
    assert 140 < neighbours < 270


def test_the_permutation_never_changes():
    assert permuted(EVERY[:10], 10, random_bits(0, 3, np.zeros(10, dtype=np.int64))).tolist() == GOLDEN
    large = permuted(np.array([0, 1, 2**40]), 2**40 + 1, random_bits(-1, 3, np.array([0])))
    assert large.tolist() == GOLDEN_LARGE
