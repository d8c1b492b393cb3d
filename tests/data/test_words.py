"""Words and positions of sequences, as a linear model reads them."""

import numpy as np
import pytest

from dnamamba.data.words import one_hot, word_shares


def rows(*texts: str) -> list[np.ndarray]:
    return [np.array(["ACGTN".index(letter) for letter in text], dtype=np.uint8) for text in texts]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_shares_are_counts_over_known_words(size: int) -> None:
    texts = ["ACGTACGTTA", "AN", "GGGNGGA", "NNNN", "T"]
    expected = np.zeros((len(texts), 4**size))
    for row, text in enumerate(texts):
        words = [text[i : i + size] for i in range(len(text) - size + 1)]
        words = [word for word in words if "N" not in word]
        for word in words:
            place = sum("ACGT".index(letter) * 4**i for i, letter in enumerate(reversed(word)))
            expected[row, place] += 1 / len(words)
    np.testing.assert_allclose(word_shares(rows(*texts), size), expected, rtol=1e-6)


def test_words_do_not_reach_over_two_rows() -> None:
    assert word_shares(rows("A", "C"), 2).sum() == 0
    assert word_shares(rows("AA", "C"), 3).sum() == 0


def test_many_rows_are_counted_like_one() -> None:
    rng = np.random.default_rng(0)
    many = [rng.integers(0, 5, 9).astype(np.uint8) for _ in range(1030)]
    found = word_shares(many, 2)
    for place in (0, 1023, 1024, 1029):
        np.testing.assert_array_equal(found[place], word_shares([many[place]], 2)[0])


def test_one_hot_says_which_base_is_where() -> None:
    found = one_hot(rows("ACN", "TTG"))
    expected = [[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0]]
    np.testing.assert_array_equal(found, expected)
