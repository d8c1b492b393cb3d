"""Whole records as training samples: each is read once per epoch, in an order that is redrawn every epoch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dnamamba.data.intervals import Interval
from dnamamba.data.sampling import Windows, record_names
from dnamamba.data.stateless import Int64s, permuted, random_bits
from dnamamba.errors import UserError

_ORDER_STREAM, _STRAND_STREAM = 3, 4


class WholeRecords:
    """A `WindowSampler`: sample `index` is number `index % n` in the order of epoch `index // n`.

    Samples are as long as their records: all but the first base of each is a target.

    Args:
        intervals: the records, or what of them trains; those of fewer than two bases are not read.
        seed: any integer; its low 64 bits count.
        reverse_complement: draw the strand of each sample anew every epoch; otherwise all are forward.

    Raises:
        UserError: no record has two bases.
    """

    ragged = True

    def __init__(self, intervals: Iterable[Interval], seed: int, reverse_complement: bool) -> None:
        usable = [interval for interval in intervals if interval.length > 1]
        if not usable:
            raise UserError("data.max_length=chromosome: no training record has two bases (got none)")
        self.names = record_names(usable)
        self.seed = seed
        self.reverse_complement = reverse_complement
        index_of = {name: index for index, name in enumerate(self.names)}
        self._record = np.array([index_of[interval.name] for interval in usable], dtype=np.int64)
        self._start = np.array([interval.start for interval in usable], dtype=np.int64)
        self._length = np.array([interval.length for interval in usable], dtype=np.int64)
        self.length = int(self._length.max()) - 1

    def draw(self, index: Int64s) -> Windows:
        """Return the samples with these numbers, `[B]`: a pure function of them and of the seed."""
        samples = self._record.size
        epoch, place = np.divmod(index.astype(np.int64), samples)
        number = permuted(place, samples, random_bits(self.seed, _ORDER_STREAM, epoch))
        strand = np.zeros(index.shape, dtype=np.int8)
        if self.reverse_complement:
            strand[:] = random_bits(self.seed, _STRAND_STREAM, index) >> np.uint64(63)
        return Windows(self._record[number], self._start[number], self._length[number], strand)
