"""Intervals of records, and which of them are for training, validation and test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from dnamamba.data.big_bed import big_bed_lines, is_big_bed
from dnamamba.data.text_lines import text_lines
from dnamamba.errors import UserError

if TYPE_CHECKING:
    from dnamamba.data.alphabet import Alphabet, Ids
    from dnamamba.data.fasta import Genome

# What the automatic split holds out, as shares of the whole genome.
HELD_OUT = 0.05
WHOLE_RECORD_RANGE = (0.01, 0.20)

# Chromosomes of yeast and worm, which some assemblies number so.
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv", "xvi")

_NAME_SHOWN, _COMPARED = 100, 2000  # characters of a name in a message, and names that it is compared with

BED12 = 12  # columns of a BED with blocks

# A place in a record, small enough for int64.
_BASE = re.compile(r"[0-9]{1,18}")
# Anything below a blank but the tab, and what Unicode adds: no name, number or label has it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class Bases(Protocol):
    """Records to read from: a `Genome`, or several together."""

    alphabet: Alphabet

    def fetch(self, name: str, start: int = 0, end: int | None = None) -> Ids:
        """Return the ids of bases `start` to `end` of a record: uint8 `[end - start]`.

        Args:
            name: of the record.
            start: 0-based.
            end: not included; None: the record's end.
        """


class Loaded(Bases, Protocol):
    """Records that can be read before they are asked for: a `Genome`, or files of bytes."""

    def load(self, names: Iterable[str]) -> None:
        """Read these records now."""


class Interval(NamedTuple):
    """Bases `start` (0-based, included) to `end` (not included) of the record `name`."""

    name: str
    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of bases."""
        return self.end - self.start


class Splits(NamedTuple):
    """Which bases train, which validate while training, and which nobody looks at until the end."""

    train: tuple[Interval, ...]
    valid: tuple[Interval, ...]
    test: tuple[Interval, ...]


def whole(lengths: Mapping[str, int], names: Iterable[str]) -> tuple[Interval, ...]:
    """Return whole records as intervals."""
    return tuple(Interval(name, 0, lengths[name]) for name in names)


def unknown_record(name: str, known: Iterable[str]) -> str:
    """Describe a record that is missing: by its other name, else similar names, else the first few."""
    names = list(known)
    number = _number(name)
    same = [other for other in names if _number(other) == number]
    # Likeness takes time that grows with the names and their lengths: milliseconds for a chromosome's.
    alike = (
        [other for other in names[:_COMPARED] if len(other) <= _NAME_SHOWN]
        if len(name) <= _NAME_SHOWN
        else []
    )
    close = same[:3] or get_close_matches(name, alike, n=3)
    if close:
        return f"no record {_short(name)!r}; did you mean {' or '.join(map(_short, close))}?"
    shown = ", ".join(map(_short, names[:6]))
    return f"no record {_short(name)!r}; the records are {shown}{', ...' if len(names) > 6 else ''}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_SHOWN else f"{name[:_NAME_SHOWN]}... ({len(name):,} characters)"


def _number(name: str) -> str:
    """Return the same for chr1, 1, chrI and I: assemblies write one chromosome in many ways."""
    rest = name.lower().removeprefix("chr")
    return str(ROMAN.index(rest) + 1) if rest in ROMAN else rest


def split_records(
    lengths: Mapping[str, int], *, valid: Sequence[str] | None, test: Sequence[str] | None, window: int
) -> Splits:
    """Split a genome into training, validation and test.

    With names given, those whole records are held out and the rest trains (one of the two left None: nothing
    is held out for it). With neither given, the choice is a function of the lengths alone:

    1. chromosomes: where at least two records have between 1 % and 20 % of the genome, the one whose share is
       nearest 5 % validates and the next nearest tests;
    2. a fragmented assembly (the longest record has at most 20 %): of the records sorted by length, the 10th
       of every 20 validates and the 11th tests;
    3. one or a few long records: the last 5 % of the longest tests and the 5 % before that validates, neither
       shorter than a window.

    The automatic choice never holds out a record shorter than a window.

    Args:
        lengths: bases of each record, in the order of the file.
        valid, test: names of records to hold out.
        window: bases in a training window (`data.max_length` + 1).

    Raises:
        UserError: an unknown name, a name in both, nothing left to train on, no record as long as a window.
    """
    _need_a_window(lengths, lengths, window, "the FASTA")
    if valid is None and test is None:
        return _automatic(lengths, window)
    valid_names, test_names = tuple(valid or ()), tuple(test or ())
    for key, names in (("data.valid", valid_names), ("data.test", test_names)):
        for name in names:
            if name not in lengths:
                raise UserError(f"{key}: {unknown_record(name, lengths)}")
    both = set(valid_names) & set(test_names)
    if both:
        raise UserError(f"data.valid and data.test both name {', '.join(sorted(both))}")
    held_out = {*valid_names, *test_names}
    train_names = [name for name in lengths if name not in held_out]
    if not train_names:
        raise UserError(
            "data.valid and data.test name every record of the FASTA: nothing is left to train on"
        )
    _need_a_window(lengths, train_names, window, "what is left to train on")
    return Splits(*(whole(lengths, dict.fromkeys(names)) for names in (train_names, valid_names, test_names)))


def _need_a_window(lengths: Mapping[str, int], names: Iterable[str], window: int, where: str) -> None:
    longest = max(names, key=lengths.__getitem__, default=None)
    if longest is None:
        raise UserError(f"{where} has no records")
    if lengths[longest] < window:
        raise UserError(
            f"no record of {where} is as long as a window of {window:,} bases: the longest, {longest}, has "
            f"{lengths[longest]:,}; set data.max_length to at most {max(lengths[longest] - 1, 1)}"
        )


def _automatic(lengths: Mapping[str, int], window: int) -> Splits:
    total = sum(lengths.values())
    low, high = (share * total for share in WHOLE_RECORD_RANGE)
    long_enough = [name for name in lengths if lengths[name] >= window]
    longest = max(long_enough, key=lengths.__getitem__)
    chromosomes = [name for name in long_enough if low <= lengths[name] <= high]
    if len(chromosomes) >= 2 and len(long_enough) >= 3:
        nearest = sorted(chromosomes, key=lambda name: abs(lengths[name] - HELD_OUT * total))
        valid, test = [nearest[0]], [nearest[1]]
    elif lengths[longest] <= high and len(long_enough) >= 20:
        by_length = sorted(long_enough, key=lengths.__getitem__, reverse=True)
        valid, test = by_length[9::20], by_length[10::20]
    else:
        return _cut_longest(lengths, longest, window)
    held_out = {*valid, *test}
    return Splits(
        whole(lengths, (name for name in lengths if name not in held_out)),
        whole(lengths, valid),
        whole(lengths, test),
    )


def _cut_longest(lengths: Mapping[str, int], longest: str, window: int) -> Splits:
    length = lengths[longest]
    piece = max(round(HELD_OUT * length), window)
    first, second = length - 2 * piece, length - piece
    if first < window:
        raise UserError(
            f"record {longest} ({length:,} bases) is too short to cut training, validation and test windows "
            f"of {window:,} bases from: set data.max_length to at most {max(length // 3 - 1, 1)}, "
            "or name data.valid"
        )
    train = [Interval(name, 0, first if name == longest else lengths[name]) for name in lengths]
    return Splits(tuple(train), (Interval(longest, first, second),), (Interval(longest, second, length),))


def joined(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Join intervals that overlap or touch; the result is sorted and has each base once."""
    result: list[Interval] = []
    for name, start, end in sorted(intervals):
        if result and result[-1].name == name and start <= result[-1].end:
            last = result.pop()
            start, end = last.start, max(last.end, end)
        result.append(Interval(name, start, end))
    return tuple(result)


def without_n(intervals: Iterable[Interval], genome: Genome, min_run: int) -> tuple[Interval, ...]:
    """Return intervals with every run of at least `min_run` unscored bases (N, mostly) cut out of them.

    With as many bases in `min_run` as a window has targets, every window inside has a base to score.

    Args:
        intervals: of the genome.
        genome: gives the bases.
        min_run: the shortest run that is cut out, in bases.

    Raises:
        UserError: nothing is left that has a scored base and more than `min_run` bases.
    """
    intervals = tuple(intervals)
    kept = [part for interval in intervals for part in stretches(interval, genome, min_run)]
    if not any(interval.length > min_run for interval in kept):
        names = ", ".join(dict.fromkeys(interval.name for interval in intervals))
        raise UserError(
            f"{genome.path}: no window of {min_run + 1:,} bases that is not only N in the record(s) {names}; "
            "choose other records or a smaller data.max_length"
        )
    return tuple(kept)


def past_the_end(intervals: Iterable[Interval], genome: Genome, window: int) -> tuple[Interval, ...]:
    """Let windows of circular records cross the end: an interval that ends there continues at the beginning.

    Args:
        intervals: of the genome, in order; each may be a part of a record.
        genome: knows which records are circular.
        window: targets of a window, which has one base more; a shorter record stays as it is.
    """
    intervals = tuple(intervals)
    # Bases from the beginning on that a window which begins before the end may read.
    first = {one.name: min(one.length, window) for one in intervals if one.start == 0}
    return tuple(
        one._replace(end=one.end + first.get(one.name, 0))
        if one.name in genome.circular and one.end == genome.lengths[one.name] > window
        else one
        for one in intervals
    )


def stretches(interval: Interval, genome: Bases, min_run: int) -> Iterator[Interval]:
    """Yield the parts of an interval outside its runs of at least `min_run` unscored bases.

    Args:
        interval: of the genome.
        genome: gives the bases.
        min_run: the shortest run that is cut out, in bases.
    """
    scored = genome.alphabet.scored[genome.fetch(interval.name, interval.start, interval.end)]
    edges = np.flatnonzero(np.diff(scored)) + 1
    bounds = np.concatenate(([0], edges, [scored.size]))
    run_is_long = np.diff(bounds) >= min_run
    run_is_unscored = ~scored[bounds[:-1]] if scored.size else np.zeros(1, dtype=bool)
    start = 0
    for run in np.flatnonzero(run_is_long & run_is_unscored):
        if start < bounds[run]:
            yield Interval(interval.name, interval.start + start, interval.start + int(bounds[run]))
        start = int(bounds[run + 1])
    if interval.start + start < interval.end:
        yield Interval(interval.name, interval.start + start, interval.end)


def read_bed(path: str | Path) -> list[Interval]:
    """Read the first three columns of a BED file, in its order, without `#`, `track`, `browser` lines.

    Raises:
        UserError: no such file, or a row that is not name, start, end with 0 <= start < end.
    """
    return [row.interval for row in bed_rows(path)]


def is_display_line(fields: Sequence[str]) -> bool:
    """Return whether a line of BED or bedGraph is for a browser, and not a row of a record named `track`.

    >>> is_display_line("track name=x".split()), is_display_line("browser position chr7:1-9".split())
    (True, True)
    >>> is_display_line("track 10 60".split())
    False
    """
    if fields[0].split(" ")[0] not in ("track", "browser"):
        return False
    return len(fields) < 3 or not all(_BASE.fullmatch(field.strip()) for field in fields[1:3])


class BedRow(NamedTuple):
    """A row of a BED file."""

    number: int  # of the line, from 1
    interval: Interval
    others: tuple[str, ...]  # the columns after the third

    def name_and_strand(self, where: str) -> tuple[str, str]:
        """Return columns 4 and 6; the strand is `+`, `-` or `.`, and the name '' where there is none.

        Raises:
            UserError: the row has several blocks, which nothing here joins, or an unknown strand.
        """
        self.need_one_block(where)
        name, _, strand, *_ = (*self.others, *[""] * 3)
        if strand.strip() not in ("+", "-", ".", ""):
            raise UserError(f"{where}: the strand must be +, - or . (got {strand.strip()!r}); mend column 6")
        return name, strand.strip() or "."

    def need_one_block(self, where: str) -> None:
        """Refuse a row of several blocks, which nothing here joins.

        Raises:
            UserError: naming it.
        """
        # The tenth column of a narrowPeak file, which has no more, is the summit.
        blocks = self.others[6].strip() if len(self.others) + 3 >= BED12 else "1"
        if blocks not in ("", "0", "1"):
            raise UserError(
                f"{where}: the blocks of a BED12 are not read (got {blocks}); give a row per block, as "
                "bedtools bed12tobed6 makes them"
            )


def bed_rows(path: str | Path) -> Iterator[BedRow]:
    """Yield the rows of a BED file (plain, gzip, BGZF; tabs or spaces) or of a bigBed; see `read_bed`."""
    lines = big_bed_lines(path) if is_big_bed(path) else text_lines(path)
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("#") or is_display_line(fields):
            continue
        control = _CONTROL.search(line)
        if control:
            raise UserError(f"{path}, row {number}: the control character {control[0]!r}; remove it")
        if len(fields) < 3:
            raise UserError(
                f"{path}, row {number}: {len(fields)} column(s), but a BED has name, start and end"
            )
        name, start, end = fields[:3]
        if not (
            _BASE.fullmatch(start.strip())
            and _BASE.fullmatch(end.strip())
            and int(start.strip()) < int(end.strip())
        ):
            raise UserError(
                f"{path}, row {number}: {start!r} to {end!r} is not a range of bases, 0 <= start < end"
            )
        place = Interval(name, int(start.strip()), int(end.strip()))
        yield BedRow(number, place, tuple(fields[3:]))
