"""Random numbers and permutations that are pure functions of a seed: no generator, hence no state to save."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]

# Four rounds of random functions make a Feistel network look like a random permutation (Luby and Rackoff
# 1988). Twice as many because halves of a few bits hide little; even, so that both change equally often.
_ROUNDS = 8


def random_bits(seed: int, stream: int, index: Int64s) -> UInt64s:
    """Return 64 random bits per index: that place in a sequence of SplitMix64 (Steele et al. 2014).

    Args:
        seed: any integer; its low 64 bits count.
        stream: sequences of different streams are independent.
        index: int64, any shape.
    """
    key = _mix(_mix(np.array([seed & (2**64 - 1)], dtype=np.uint64)) ^ np.uint64(stream))
    return _mix(key + index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def permuted(place: Int64s, size: int, key: UInt64s) -> Int64s:
    """Map each place by a random permutation of 0 ... `size` - 1, one permutation per key.

    A Feistel network permutes the smallest power of two that is large enough; a place that it sends to `size`
    or beyond is sent on until it is back inside (cycle walking, Black and Rogaway 2002). Fewer than half of
    the places are outside, so that this takes less than two rounds on average. Nothing is stored.

    Args:
        place: int64, 0 <= place < size.
        size: how many are permuted.
        key: uint64, of the shape of `place` or one that broadcasts to it.
    """
    assert not place.size or (place.min() >= 0 and place.max() < size)
    bits = (size - 1).bit_length()
    key = np.broadcast_to(key, place.shape)
    moved = _feistel(place.astype(np.uint64), bits, key)
    outside = np.flatnonzero(moved >= np.uint64(size))
    while outside.size:
        moved[outside] = _feistel(moved[outside], bits, key[outside])
        outside = outside[moved[outside] >= np.uint64(size)]
    return moved.astype(np.int64)


def _feistel(place: UInt64s, bits: int, key: UInt64s) -> UInt64s:
    """Return a permutation of the numbers of `bits` bits for each key."""
    right_bits = np.uint64((bits + 1) // 2)
    left_mask = np.uint64((1 << bits // 2) - 1)
    right_mask = np.uint64((1 << (bits + 1) // 2) - 1)
    left, right = place >> right_bits, place & right_mask
    for number in range(0, _ROUNDS, 2):
        left = left ^ (_mix(_mix(key + np.uint64(number)) ^ right) & left_mask)
        right = right ^ (_mix(_mix(key + np.uint64(number + 1)) ^ left) & right_mask)
    return left << right_bits | right


def _mix(bits: UInt64s) -> UInt64s:
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
