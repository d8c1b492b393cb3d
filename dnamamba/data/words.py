"""Sequences as fixed vectors: what a linear model reads of DNA.

Bases are 0 to 3 of A, C, G, T; whatever is larger is not a base, and in no k-mer.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Bases = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Rows counted at a time: their int64 counts of 4^6 words are 32 MB.
_ROWS = 1024


def word_shares(rows: Sequence[Bases], size: int) -> Floats:
    """Return the share of each word of `size` bases among those of a row, float32 [n, 4 ** size].

    The first base of a word is the most significant; a row without a word is zeros.
    """
    shares = np.zeros((len(rows), 4**size), dtype=np.float32)
    for first in range(0, len(rows), _ROWS):
        counts = _counts(rows[first : first + _ROWS], size)
        shares[first : first + _ROWS] = counts / np.maximum(1, counts.sum(1, keepdims=True))
    return shares


def one_hot(rows: Sequence[Bases]) -> Floats:
    """Encode rows of one length L as one-hot float32 [n, 4 * L]; what is not a base is four zeros."""
    return (np.stack(rows)[:, :, None] == np.arange(4)).reshape(len(rows), -1).astype(np.float32)


def _counts(rows: Sequence[Bases], size: int) -> NDArray[np.int64]:
    """Count each k-mer in each row, int64 [n, 4 ** size]."""
    bases = np.concatenate(rows).astype(np.int64)
    lengths = np.array([row.size for row in rows])
    row = np.repeat(np.arange(len(rows)), lengths)
    number = bases.size - size + 1
    if number < 1:
        return np.zeros((len(rows), 4**size), dtype=np.int64)
    codes, known = np.zeros(number, dtype=np.int64), np.ones(number, dtype=bool)
    for place in range(size):
        part = bases[place : place + number]
        codes = codes * 4 + part
        known &= part < 4
    # A word ends in the row that it begins in.
    known &= row[:number] == row[size - 1 :]
    places = row[:number][known] * 4**size + codes[known]
    return np.bincount(places, minlength=len(rows) * 4**size).reshape(len(rows), -1)
