"""Training windows by epochs: fixed samples, each read once per epoch, in an order redrawn every epoch.

The samples are those of the Mamba paper (Gu and Dao 2023, appendix E.3.1). An interval at least as long as a
sample is cut into sub-segments that do not overlap; a shorter one gives two samples, one that begins with it
and one that ends with it, and both reach into what lies next to it. A sub-segment is the targets of a sample:
its window has one base more, which is read first: that before it or, on the reverse strand, that behind it.

The paper is silent on two things, so that each is a choice:

- `edge`, windows that would leave their chromosome. `shift` (the default) moves them inward, so that every
  sample has all its targets and every step as many bases, as the paper's numbers assume; a chromosome shorter
  than a window is padded all the same. `pad` keeps them in place and pads at the end of the sample.
- `overlap`, windows that reach into validation or test intervals. `report` (the default) reads them and says
  in `held_out` how many there are; only so is an epoch as long as the paper's above 2^17. `exclude` leaves
  every sample out that has a held-out base among its targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.intervals import Interval
from dnamamba.data.sampling import Windows, record_names
from dnamamba.data.stateless import Int64s, permuted, random_bits
from dnamamba.errors import UserError

Edge = Literal["shift", "pad"]
Overlap = Literal["report", "exclude"]

_ORDER_STREAM, _STRAND_STREAM = 3, 4
_PIECE = 1 << 18


class HeldOut(NamedTuple):
    """What an epoch without exclusion would train on of the validation and test intervals."""

    samples: int  # with a held-out base among their targets, on either strand that is read
    bases: int  # held-out targets in all of them, counted as often as they are read


def samples_of(interval_length: int, length: int) -> int:
    """Count the samples of `length` targets that an interval gives in an epoch."""
    return interval_length // length or 2


class EpochWindows:
    """A `WindowSampler`: sample `index` is number `index % samples` in the order of epoch `index // samples`.

    Args:
        intervals: the training intervals; what is left of one after whole sub-segments is not read.
        length: targets of a sample; its window is one base longer.
        seed: any integer; its low 64 bits count.
        reverse_complement: draw the strand of each sample anew every epoch; otherwise all are forward.
        lengths: bases of each chromosome.
        not_for_training: the validation and test intervals.
        edge, overlap: see the module.

    Raises:
        UserError: no intervals, an unknown choice, or nothing left after exclusion.
    """

    ragged = False

    def __init__(
        self,
        intervals: Iterable[Interval],
        length: int,
        seed: int,
        *,
        reverse_complement: bool,
        lengths: Mapping[str, int],
        not_for_training: Iterable[Interval] = (),
        edge: Edge = "shift",
        overlap: Overlap = "report",
    ) -> None:
        _check_choice("data.edge", edge, get_args(Edge))
        _check_choice("data.overlap", overlap, get_args(Overlap))
        intervals = tuple(intervals)
        if not intervals:
            raise UserError("no training intervals to draw windows from")
        self.names = record_names(intervals)
        self.length = length
        self.seed = seed
        self.reverse_complement = reverse_complement
        self.edge = edge
        index_of = {name: index for index, name in enumerate(self.names)}
        self._record = np.array([index_of[interval.name] for interval in intervals], dtype=np.int64)
        self._start = np.array([interval.start for interval in intervals], dtype=np.int64)
        self._end = np.array([interval.end for interval in intervals], dtype=np.int64)
        self._chromosome_length = np.array([lengths[name] for name in self.names], dtype=np.int64)
        assert (self._end <= self._chromosome_length[self._record]).all(), "an interval leaves its chromosome"
        pieces = (self._end - self._start) // length
        self._is_pair = pieces == 0
        self._samples_before = np.concatenate(([0], np.cumsum(np.where(self._is_pair, 2, pieces))))
        self._coverage = _Coverage(not_for_training, self.names, self._chromosome_length)
        self._kept = self._without_held_out() if overlap == "exclude" else None

    @property
    def samples(self) -> int:
        """Samples of an epoch."""
        return int(self._samples_before[-1]) if self._kept is None else self._kept.size

    @cached_property
    def held_out(self) -> HeldOut:
        """The overlap of an epoch with the held-out intervals, before any exclusion."""
        samples = bases = 0
        for overlap in self._overlaps():
            samples += int(np.count_nonzero(overlap))
            bases += int(overlap.sum())
        return HeldOut(samples, bases)

    def draw(self, index: Int64s) -> Windows:
        """Return the windows of the samples with these numbers, `[B]`, which with the seed decide."""
        epoch, place = np.divmod(index.astype(np.int64), self.samples)
        number = permuted(place, self.samples, random_bits(self.seed, _ORDER_STREAM, epoch))
        strand = np.zeros(index.shape, dtype=np.int8)
        if self.reverse_complement:
            strand[:] = random_bits(self.seed, _STRAND_STREAM, index) >> np.uint64(63)
        sample = number if self._kept is None else self._kept[number]
        return Windows(*self._windows(sample, strand), strand)

    def _windows(self, number: Int64s, strand: NDArray[np.int8]) -> tuple[Int64s, Int64s, Int64s]:
        """Return record, start and length of samples, counted along the intervals in their order."""
        row = np.searchsorted(self._samples_before, number, side="right") - 1
        piece = number - self._samples_before[row]
        first_target = self._start[row] + piece * self.length
        ends_with = self._is_pair[row] & (piece == 1)
        first_target[ends_with] = self._end[row[ends_with]] - self.length
        record = self._record[row]
        limit = self._chromosome_length[record]
        start = first_target - 1 + strand
        end = start + self.length + 1
        if self.edge == "shift":
            start = np.minimum(start, limit - self.length - 1)
            end = np.maximum(start, 0) + self.length + 1
        start, end = np.maximum(start, 0), np.minimum(end, limit)
        return record, start, end - start

    def _overlaps(self) -> Iterator[Int64s]:
        """Yield held-out targets of each sample, in pieces: an epoch may be long."""
        total = int(self._samples_before[-1])
        for first in range(0, total, _PIECE):
            number = np.arange(first, min(first + _PIECE, total), dtype=np.int64)
            most = np.zeros(number.shape, dtype=np.int64)
            # The two strands differ where a window was moved or cut at the edge of its chromosome.
            for strand in (0, 1) if self.reverse_complement else (0,):
                record, start, length = self._windows(number, np.full(number.shape, strand, dtype=np.int8))
                first_target, end = start + 1 - strand, start + length - strand
                covered = self._coverage.before(record, end) - self._coverage.before(record, first_target)
                most = np.maximum(most, covered)
            yield most

    def _without_held_out(self) -> Int64s | None:
        """Return the numbers of the samples that have no held-out target; None if that is all of them."""
        clean = np.concatenate([overlap == 0 for overlap in self._overlaps()])
        if clean.all():
            return None
        if not clean.any():
            raise UserError(
                f"every training window of {self.length:,} bases reaches into validation or test intervals: "
                "set a smaller data.max_length or data.overlap=report"
            )
        return np.flatnonzero(clean)


class _Coverage:
    """Counts the bases that a set of intervals covers, each once."""

    def __init__(self, intervals: Iterable[Interval], names: tuple[str, ...], lengths: Int64s) -> None:
        # The chromosomes laid end to end, so that one sorted array serves them all.
        self._origin = np.concatenate(([0], np.cumsum(lengths)))
        origin_of = dict(zip(names, self._origin.tolist(), strict=False))
        placed = sorted(
            (origin_of[name] + start, origin_of[name] + end)
            for name, start, end in intervals
            if name in origin_of
        )
        self._start = np.array([start for start, _ in placed], dtype=np.int64)
        reached = np.maximum.accumulate(np.array([end for _, end in placed], dtype=np.int64))
        # An interval counts only from where the ones before it have ended.
        self._start[1:] = np.maximum(self._start[1:], reached[:-1])
        self._length = np.maximum(reached - self._start, 0)
        self._before = np.concatenate(([0], np.cumsum(self._length)))

    def before(self, record: Int64s, position: Int64s) -> Int64s:
        """Count covered bases of the chromosomes before `record` and of its own before `position`."""
        place = self._origin[record] + position
        row = np.searchsorted(self._start, place, side="right") - 1
        if not self._start.size:
            return np.zeros_like(place)
        inside = np.minimum(place - self._start[row], self._length[row])
        return np.where(row < 0, 0, self._before[row] + inside)


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{key}: must be {' or '.join(choices)} (got {value!r})")
