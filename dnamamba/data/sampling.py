"""Which bases a training step or an evaluation reads.

Random windows are a pure function of the seed and of a sample's number, which is itself a function of (step,
rank, world size): there is no generator whose state could be lost. A resumed run reads what the uninterrupted
one would have read, and the ranks together read what one process would have.

A window is `length` + 1 bases, so that it has `length` targets; it never leaves the interval it is from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.alphabet import Ids
from dnamamba.data.intervals import Bases, Interval
from dnamamba.data.stateless import Int64s, random_bits
from dnamamba.errors import UserError

_START_STREAM, _STRAND_STREAM = 1, 2


class Windows(NamedTuple):
    """Windows by columns, each of shape `[B]`."""

    record: Int64s  # index into record_names(intervals)
    start: Int64s  # 0-based, on the forward strand whatever the strand read
    length: Int64s  # bases there are; a short window is padded at its end when gathered
    strand: NDArray[np.int8]  # 0 forward, 1 reverse complement

    def take(self, rows: slice | Int64s) -> Windows:
        """Return some of the windows."""
        return Windows(self.record[rows], self.start[rows], self.length[rows], self.strand[rows])

    def regions(self, names: Sequence[str]) -> list[str]:
        """Return the windows as text such as `chrV:1000-2025(-)`: 0-based, end not included."""
        return [
            f"{names[record]}:{start}-{start + length}({'-' if strand else '+'})"
            for record, start, length, strand in zip(*(column.tolist() for column in self), strict=True)
        ]


def record_names(intervals: Iterable[Interval]) -> tuple[str, ...]:
    """Return the names that `Windows.record` counts: those of the intervals, each once, in order."""
    return tuple(dict.fromkeys(interval.name for interval in intervals))


def named(intervals: Iterable[Interval]) -> str:
    """Name the records of intervals, or count them where there are many."""
    names = record_names(intervals)
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} records"


class WindowSampler(Protocol):
    """An endless stream of training windows, a pure function of a sample's number.

    Attributes:
        names: what `Windows.record` counts.
        length: targets of a window; a window has at most one base more.
        ragged: windows differ in length, and a batch is only as long as its longest.
    """

    names: tuple[str, ...]
    length: int
    ragged: bool

    def draw(self, index: Int64s) -> Windows:
        """Return the windows of the samples with these numbers, `[B]`."""


class RandomWindows:
    """Windows drawn uniformly over every start that fits, then on either strand with equal odds.

    Intervals shorter than a window are never drawn from.

    Args:
        intervals: where windows may lie.
        length: targets of a window; a window is one base longer.
        seed: any integer; its low 64 bits count.
        reverse_complement: draw the strand; without it every window is on the forward strand.

    Raises:
        UserError: no interval is as long as a window.
    """

    ragged = False

    def __init__(
        self, intervals: Iterable[Interval], length: int, seed: int, reverse_complement: bool
    ) -> None:
        intervals = tuple(intervals)
        self.names = record_names(intervals)
        self.length = length
        self.seed = seed
        self.reverse_complement = reverse_complement
        index_of = {name: index for index, name in enumerate(self.names)}
        usable = [interval for interval in intervals if interval.length > length]
        if not usable:
            longest = max((interval.length for interval in intervals), default=0)
            raise UserError(
                f"no interval of the training records is as long as a window of {length + 1:,} bases "
                f"(the longest has {longest:,}): set a smaller data.max_length"
            )
        self._record = np.array([index_of[interval.name] for interval in usable], dtype=np.int64)
        self._first = np.array([interval.start for interval in usable], dtype=np.int64)
        starts = np.array([interval.length - length for interval in usable], dtype=np.int64)
        self._starts_before = np.concatenate(([0], np.cumsum(starts)))

    @property
    def number_of_starts(self) -> int:
        """How many places a window can begin at."""
        return int(self._starts_before[-1])

    def draw(self, index: Int64s) -> Windows:
        """Return the windows of the samples with these numbers, `[B]`."""
        # The remainder favours the smallest starts by one part in 2^64 / number_of_starts: 2^-32 at 4 Gb.
        place = (random_bits(self.seed, _START_STREAM, index) % np.uint64(self.number_of_starts)).astype(
            np.int64
        )
        interval = np.searchsorted(self._starts_before, place, side="right") - 1
        strand = np.zeros(place.shape, dtype=np.int8)
        if self.reverse_complement:
            strand[:] = random_bits(self.seed, _STRAND_STREAM, index) >> np.uint64(63)
        return Windows(
            record=self._record[interval],
            start=self._first[interval] + place - self._starts_before[interval],
            length=np.full(place.shape, self.length + 1, dtype=np.int64),
            strand=strand,
        )


def tiled_windows(intervals: Iterable[Interval], length: int) -> Windows:
    """Return windows in which every base of every interval but its first is a target exactly once, in order.

    Each begins on the last target of the one before; the last of an interval may be short. An interval of one
    base has no target and no window.
    """
    intervals = tuple(intervals)
    index_of = {name: index for index, name in enumerate(record_names(intervals))}
    starts = [np.arange(interval.start, interval.end - 1, length, dtype=np.int64) for interval in intervals]
    tiles = [column.size for column in starts]
    start = np.concatenate([np.empty(0, dtype=np.int64), *starts])
    end = np.repeat(np.array([interval.end for interval in intervals], dtype=np.int64), tiles)
    record = np.repeat(np.array([index_of[interval.name] for interval in intervals], dtype=np.int64), tiles)
    return Windows(record, start, np.minimum(end - start, length + 1), np.zeros(start.shape, dtype=np.int8))


def gather(genome: Bases, names: Sequence[str], windows: Windows, length: int) -> Ids:
    """Return the bases of windows: uint8 `[B, length + 1]`, short ones padded at their end.

    Args:
        genome: where the records are.
        names: what `windows.record` counts.
        windows: at most `length` + 1 bases each.
        length: targets of a full window.
    """
    alphabet = genome.alphabet
    tokens = np.full((windows.start.size, length + 1), alphabet.pad_id, dtype=np.uint8)
    records = {index: genome.fetch(names[index]) for index in np.unique(windows.record).tolist()}
    # A copy of contiguous bytes per row beats one fancy index, which takes eight bytes of index per base.
    rows = zip(*(column.tolist() for column in windows), strict=True)
    for row, (record, start, size, strand) in enumerate(rows):
        bases = records[record][start : start + size]
        if bases.size < size:  # past the end of a circular record
            bases = genome.fetch(names[record], start, start + size)
        tokens[row, :size] = bases[::-1] if strand else bases
    reverse = windows.strand == 1
    tokens[reverse] = alphabet.complement[tokens[reverse]]
    return tokens
