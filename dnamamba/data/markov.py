"""Markov models of DNA, whose bits per base say what a neural model's are worth.

An order-k model predicts a base from the k bases before it by counting. The first bases of a window have
fewer before them, as they have for a neural model that reads the same window: they are predicted from those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.alphabet import Ids

# Added to the count of each base after each context.
PSEUDOCOUNT = 1.0
_MAX_ORDER = 12
_PIECE = 1 << 22


class MarkovModel:
    """Counts of each base after each context of `order` bases.

    Ids are those of the alphabet `dna`: 0 to 3 are A C G T, and anything else breaks a context. Probabilities
    are (count + 1) / (context's count + 4).

    Args:
        counts: int64 `[4 ** order, 4]`, row by context (its first base most significant), column by base.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.order = (counts.shape[0].bit_length() - 1) // 2
        assert counts.shape == (4**self.order, 4), f"counts of shape {counts.shape}"
        self.counts = counts

    @classmethod
    def fit(cls, sequences: Iterable[Ids], order: int, both_strands: bool = True) -> MarkovModel:
        """Count the words of `order` + 1 bases in sequences `[length]`, on both strands or the one given.

        Args:
            sequences: ids, uint8 [length] each.
            order: bases of context.
            both_strands: count the reverse complements too.
        """
        assert 0 <= order <= _MAX_ORDER, f"order {order}"
        word = order + 1
        counts = np.zeros(4**word, dtype=np.int64)
        for sequence in sequences:
            for codes in _words(sequence, word):
                counts += np.bincount(codes, minlength=4**word)
        if both_strands:
            counts = counts + counts[_reverse_complements(word)]
        return cls(counts.reshape(-1, 4))

    def lower(self, order: int) -> MarkovModel:
        """Return the model of a lower order, from the same counts: bases farther away are summed over."""
        assert 0 <= order <= self.order, f"order {order} of a model of order {self.order}"
        return MarkovModel(self.counts.reshape(-1, 4**order, 4).sum(axis=0))

    def bits(self, tokens: Ids) -> tuple[float, int]:
        """Return the total bits of the windows' targets, and the number of targets.

        Args:
            tokens: `[B, L + 1]`. Every base of a window but the first is a target. Its context is the at most
                `order` bases right before it, in the window and without a break; targets that are not a base
                do not count.
        """
        scored = tokens < 4
        length = tokens.shape[1] - 1
        target = tokens[:, 1:]
        code = target.astype(np.int64)
        row_before = np.zeros(target.shape, dtype=np.int64)
        unbroken = np.ones(target.shape, dtype=bool)
        for distance in range(1, self.order + 1):
            # The base `distance` before each target, where the window has begun by then.
            reach = slice(distance - 1, length)
            before = slice(0, length - distance + 1)
            unbroken[:, : distance - 1] = False
            unbroken[:, reach] &= scored[:, before]
            code[:, reach] += np.where(
                unbroken[:, reach], tokens[:, before].astype(np.int64) << 2 * distance, 0
            )
            row_before += unbroken.astype(np.int64) << 2 * distance
        counted = scored[:, 1:]
        return float(self._bits[(row_before + code)[counted]].sum()), int(counted.sum())

    @cached_property
    def _bits(self) -> NDArray[np.float64]:
        """-log2 of the probabilities of the orders 0, 1, ..., `order`, one after another: order j begins at
        4 + 16 + ... + 4^j."""
        tables = []
        for order in range(self.order + 1):
            counts = self.lower(order).counts + PSEUDOCOUNT
            tables.append(-np.log2(counts / counts.sum(axis=1, keepdims=True)).ravel())
        return np.concatenate(tables)


def _words(sequence: Ids, word: int) -> Iterator[NDArray[np.int32]]:
    """Yield the base-4 codes of a sequence's unbroken k-mers, a piece of the sequence at a time."""
    for start in range(0, sequence.size, _PIECE):
        piece = sequence[start : start + _PIECE + word - 1]
        places = piece.size - word + 1
        if places < 1:
            return
        codes = np.zeros(places, dtype=np.int32)
        whole = np.ones(places, dtype=bool)
        for offset in range(word):
            bases = piece[offset : offset + places]
            codes = codes * np.int32(4) + bases
            whole &= bases < 4
        yield codes[whole]


def _reverse_complements(word: int) -> NDArray[np.int64]:
    codes = np.arange(4**word, dtype=np.int64)
    other = np.zeros_like(codes)
    for _ in range(word):
        other = other * 4 + (3 - codes % 4)
        codes //= 4
    return other
