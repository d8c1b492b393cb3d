"""The synthetic tasks of the Mamba paper: symbols with an answer, each a pure function of its number.

Source: Gu and Dao (2023), arXiv 2312.00752, section 4.1 and appendix E.1. Selective copying is of Jing et al.
(2019), induction heads of Olsson et al. (2022) in the form of Dao et al. (2023), arXiv 2212.14052.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from dnamamba.data.alphabet import Ids
from dnamamba.data.stateless import Int64s, UInt64s, permuted, random_bits

SPLITS = ("train", "valid", "test")
# Random numbers that are made at once: eight bytes each, several times over.
_AT_A_TIME = 1 << 20


class Examples(NamedTuple):
    """Sequences and what a model must say at the end of each.

    Attributes:
        tokens: uint8 [B, L].
        answers: uint8 [B, A], the symbols that follow the last A positions.
    """

    tokens: Ids
    answers: Ids


class Task(Protocol):
    """A task at one length.

    Attributes:
        length: symbols L of a sequence.
        least: the shortest length it has.
        answers: number A of answers.
    """

    @property
    def length(self) -> int:
        """See above."""

    @property
    def least(self) -> int:
        """See above."""

    @property
    def answers(self) -> int:
        """See above."""

    def draw(self, seed: int, split: str, index: Int64s) -> Examples:
        """Return examples, each a function of these three alone.

        Args:
            seed: any integer.
            split: one of `SPLITS`.
            index: numbers of the examples, int64 [B].
        """


@dataclass(frozen=True)
class SelectiveCopying:
    """Data symbols at random places among noise; then, at as many markers, the data symbols in order.

    Noise is the symbol 0 and the marker the last of the vocabulary; the data symbols lie between. The markers
    are the end of the sequence: `length` counts noise, data and markers.

    >>> import numpy as np
    >>> SelectiveCopying(length=12, symbols=3, vocabulary=8).draw(0, "train", np.arange(1)).tokens.tolist()
    [[1, 1, 0, 3, 0, 0, 0, 0, 0, 7, 7, 7]]

    Args:
        length: of a sequence.
        symbols: data symbols M of each.
        vocabulary: different symbols in all.
    """

    length: int
    symbols: int
    vocabulary: int

    @property
    def least(self) -> int:
        """The data symbols and their markers."""
        return 2 * self.symbols

    @property
    def answers(self) -> int:
        """One per data symbol."""
        return self.symbols

    def draw(self, seed: int, split: str, index: Int64s) -> Examples:
        """See `Task.draw`."""
        before = self.length - self.symbols
        keys = random_bits(seed, _stream(split, 0, self.length), index)
        places = np.tile(np.arange(self.symbols, dtype=np.int64), index.size)
        place = permuted(places, before, np.repeat(keys, self.symbols)).reshape(-1, self.symbols)
        place.sort(axis=1)
        bits = _bits(seed, _stream(split, 1, self.length), index, self.symbols)
        data = (1 + bits % np.uint64(self.vocabulary - 2)).astype(np.uint8)
        tokens = np.zeros((index.size, self.length), dtype=np.uint8)
        np.put_along_axis(tokens, place, data, axis=1)
        tokens[:, before:] = self.vocabulary - 1
        return Examples(tokens, data)


@dataclass(frozen=True)
class InductionHeads:
    """Random symbols; what followed the marker when it came first, is asked for where it comes again: last.

    The marker is the last symbol of the vocabulary and comes exactly twice.

    >>> import numpy as np
    >>> made = InductionHeads(length=8, vocabulary=4).draw(0, "train", np.arange(1))
    >>> made.tokens.tolist(), made.answers.tolist()
    ([[3, 0, 1, 2, 0, 1, 2, 3]], [[0]])

    Args:
        length: of a sequence.
        vocabulary: different symbols in all.
    """

    length: int
    vocabulary: int
    least = 3
    answers = 1

    def draw(self, seed: int, split: str, index: Int64s) -> Examples:
        """See `Task.draw`."""
        marker = self.vocabulary - 1
        tokens = np.empty((index.size, self.length), dtype=np.uint8)
        rows = max(1, _AT_A_TIME // self.length)
        for first in range(0, index.size, rows):
            bits = _bits(seed, _stream(split, 1, self.length), index[first : first + rows], self.length)
            tokens[first : first + rows] = bits % np.uint64(marker)
        bits = random_bits(seed, _stream(split, 0, self.length), index)
        place = (bits % np.uint64(self.length - 2)).astype(np.int64)
        every = np.arange(index.size)
        answers = tokens[every, place + 1][:, None]
        tokens[every, place] = tokens[:, -1] = marker
        return Examples(tokens, answers)


def _stream(split: str, kind: int, length: int) -> int:
    """Return a stream of random numbers for each split, kind of number and length."""
    return (length << 4) + (SPLITS.index(split) << 2) + kind


def _bits(seed: int, stream: int, index: Int64s, each: int) -> UInt64s:
    """Return 64 random bits for each place of each sample, [B, each]."""
    return random_bits(seed, stream, index[:, None] * each + np.arange(each, dtype=np.int64))
