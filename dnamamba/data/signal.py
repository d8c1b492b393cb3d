"""Signal along a genome, from bigWig and bedGraph: one number per bin, NaN where nothing was measured."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.bigwig_reader import BigWig, opened
from dnamamba.data.intervals import is_display_line, unknown_record
from dnamamba.data.synonyms import Synonyms
from dnamamba.data.text_lines import text_lines
from dnamamba.errors import UserError

BIGWIG = (".bw", ".bigwig")
LARGEST_BIN = 128  # bases that have one number together, at most
LOSSES = ("poisson", "negative_binomial", "multinomial", "mse")
SCALINGS = ("none", "log", "sqrt")  # of a signal that is learnt
Floats = NDArray[np.float32]
_AT_ONCE = 1 << 22  # bases that are read of a bigWig at a time
_BASE, _NUMBER = "[0-9]{1,18}", r"[-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[nN][aA][nN])"
_PATTERNS = (_BASE, _BASE, _NUMBER)  # of the columns from the second on
_EQUAL, _LOST = 1e-14, 0.01  # shares of the largest number, and of the standard deviation
_LARGEST = float(np.finfo(np.float32).max)


class Signal(NamedTuple):
    """A track.

    Attributes:
        values: by record, float32 [bins]: the mean over the bases of a bin that have a value, NaN of none.
        notes: lines to say on how it was read.
        covered: bases that the file has a value of.
    """

    values: dict[str, Floats]
    notes: list[str]
    covered: int


def read_signal(
    path: str | Path,
    lengths: Mapping[str, int],
    fasta: str | Path,
    size: int,
    *,
    missing: str = "leave_out",
    unknown: str = "error",
) -> Signal:
    """Read a bigWig or bedGraph file as means over bins.

    Args:
        path: its name says bigWig; anything else is a bedGraph, plain or gzip.
        lengths: bases of each record of the FASTA.
        fasta: its name, for messages.
        size: bases of a bin; the last one of a record may be short.
        missing: bases without a value: `leave_out`, or `zero`.
        unknown: records that the FASTA lacks: `error`, or `skip`, which counts them.

    Raises:
        UserError: the file can't be read, is of another assembly, or has a record that is unknown.
    """
    path = Path(os.path.expanduser(path))
    reader = _bigwig if path.suffix.lower() in BIGWIG else _bedgraph
    found = reader(path, lengths, fasta, size, unknown, missing == "zero")
    values = {
        name: found.values.get(name, np.full(-(-length // size), math.nan, dtype=np.float32))
        for name, length in lengths.items()
    }
    if found.covered == 0:
        raise UserError(f"{path}: no base of {fasta} has a value")
    if missing == "zero":  # a record that the file lacks
        values = {name: np.nan_to_num(row, nan=0.0) for name, row in values.items()}
    return found._replace(values=values)


def _bigwig(
    path: Path, lengths: Mapping[str, int], fasta: str | Path, size: int, unknown: str, zero: bool
) -> Signal:
    synonyms, values, lost = Synonyms(lengths), {}, 0
    with opened(path) as file:
        read: dict[str, tuple[str, int]] = {}
        for name, length in file.lengths.items():
            record = synonyms.find(name)
            if record is None:
                lost += _lost(f"{path}", name, lengths, fasta, unknown)
                continue
            if length != lengths[record]:
                raise UserError(
                    f"{path}: record {name} has {length:,} bases there, and {lengths[record]:,} in {fasta}; "
                    "it is of another assembly"
                )
            if record in read:
                raise UserError(
                    f"{path}: {read[record][0]} and {name} are both {record} of {fasta}; give its values once"
                )
            read[record] = name, length
        covered = 0
        for record, (name, length) in read.items():
            values[record], here = _binned(file, name, length, size, zero)
            covered += here
        if not lost and file.covered not in (0, covered):
            _need_covered(file, [*read.values()])
    return Signal(values, [*_said(lost), *synonyms.said()], covered)


def _binned(file: BigWig, name: str, length: int, size: int, zero: bool) -> tuple[Floats, int]:
    """Compute the means over a bigWig record's bins, read some at a time, and the bases that have a value.

    Args:
        file: read.
        name: of the record.
        length: of the record.
        size: bases of a bin.
        zero: bases without a value are zero.
    """
    step = max(size, _AT_ONCE // size * size)
    parts, covered = [], 0
    for start in range(0, length, step):
        row = file.values(name, start, min(start + step, length))
        if np.isinf(row).any():
            place = start + int(np.isinf(row).argmax()) + 1
            raise UserError(f"{file.path}: {name}:{place} has an infinite value; give a finite number")
        there = ~np.isnan(row)
        covered += int(there.sum())
        parts.append(means(np.where(there, row, 0.0), (there | zero).astype(np.float64), size))
    return np.concatenate(parts), covered


def _need_covered(file: BigWig, read: list[tuple[str, int]]) -> None:
    """Refuse a file whose index leads to less or more than its header says: the index has no checksum."""
    found = sum(
        file.covered_by_intervals(name, start, min(start + _AT_ONCE, length))
        for name, length in read
        for start in range(0, length, _AT_ONCE)
    )
    if found != file.covered:
        raise UserError(
            f"{file.path}: is damaged: by its header {file.covered:,} bases have a value, and {found:,} were "
            "found; use another copy"
        )


def bins_with(there: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Return which bins of `size` bases have one that is `there`, bool [L]: bool [bins]."""
    return np.asarray(np.logical_or.reduceat(there, np.arange(0, there.size, size)), dtype=bool)


def means(sums: NDArray[Any], counts: NDArray[Any], size: int) -> Floats:
    """Return `exact_means` as float32 [bins].

    Args:
        sums, counts: float64 [L], see `exact_means`.
        size: bases of a bin.
    """
    return exact_means(sums, counts, size).astype(np.float32)


def exact_means(sums: NDArray[Any], counts: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Return the mean of each bin, float64 [bins], NaN of one without a value.

    Args:
        sums, counts: float64 [L], of each base its value (0 where there is none) and whether it has one.
        size: bases of a bin.
    """
    starts = np.arange(0, sums.size, size)
    total, number = (np.add.reduceat(row.astype(np.float64), starts) for row in (sums, counts))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(number > 0, total / np.maximum(number, 1), math.nan)


def _need_precision(
    path: Path, exact: Mapping[str, NDArray[np.float64]], values: Mapping[str, Floats]
) -> None:
    """Refuse numbers so far from zero that float32 loses what tells them apart.

    Raises:
        UserError: rounding is more than a hundredth of their standard deviation.
    """
    # Record by record: a copy of all would be as large as the genome.
    number = sum(np.count_nonzero(~np.isnan(row)) for row in exact.values())
    if not number:
        return
    mean = sum(float(np.nansum(row)) for row in exact.values()) / number
    spread = math.sqrt(sum(float(np.nansum((row - mean) ** 2)) for row in exact.values()) / number)
    largest = max(_largest(row) for row in exact.values())
    apart = max(_largest(row - values[name]) for name, row in exact.items())
    # Of equal numbers rounding leaves a spread.
    if spread > _EQUAL * largest and apart > _LOST * spread:
        raise UserError(
            f"{path}: numbers up to {largest:g} differ by {spread:g} (standard deviation), which 32 bits "
            "can't hold; subtract a constant from all"
        )


def _largest(row: NDArray[np.float64]) -> float:
    return float(np.fmax.reduce(np.abs(row), initial=0.0))


def _bedgraph(
    path: Path, lengths: Mapping[str, int], fasta: str | Path, size: int, unknown: str, zero: bool
) -> Signal:
    sums = {name: np.zeros(length) for name, length in lengths.items()}
    there = {name: np.zeros(length) for name, length in lengths.items()}
    synonyms, lost = Synonyms(lengths), 0
    for number, line in enumerate(text_lines(path), start=1):
        fields = line.split()
        if not fields or line.startswith("#") or is_display_line(fields):
            continue
        where = f"{path}, row {number}"
        name, start, end, value = _row(fields, where)
        record = synonyms.find(name)
        if record is None:
            lost += _lost(where, name, lengths, fasta, unknown)
            continue
        if end > lengths[record]:
            raise UserError(
                f"{where}: ends at {end:,}, but record {record} of {fasta} has {lengths[record]:,} bases; it "
                "is of another assembly"
            )
        if there[record][start:end].any():
            raise UserError(f"{where}: a base of {name}:{start}-{end} has a value already; give it one")
        if not math.isnan(value):
            sums[record][start:end], there[record][start:end] = value, 1
    covered = int(sum(row.sum() for row in there.values()))
    exact = {}
    for name in [name for name, length in lengths.items() if length]:
        known, total = there.pop(name), sums.pop(name)
        exact[name] = exact_means(total, np.ones_like(known) if zero else known, size)
    values = {name: row.astype(np.float32) for name, row in exact.items()}
    _need_precision(path, exact, values)
    return Signal(values, [*_said(lost), *synonyms.said()], covered)


def _row(fields: list[str], where: str) -> tuple[str, int, int, float]:
    # Python's own `int` and `float` read more: 1_2 as 12, and digits of every script.
    if len(fields) != 4 or not all(map(re.fullmatch, _PATTERNS, fields[1:])):
        raise UserError(f"{where}: expected record, start, end and a number (got {' '.join(fields)[:60]!r})")
    name, (start, end), value = fields[0], map(int, fields[1:3]), float(fields[3])
    if start >= end or abs(value) > _LARGEST:
        raise UserError(
            f"{where}: {start} to {end} is not a range of bases, or {fields[3]} not a number within float32"
        )
    return name, start, end, value


def _lost(where: str, name: str, lengths: Mapping[str, int], fasta: str | Path, unknown: str) -> int:
    """Count a record or row that is skipped, or refuse it."""
    if unknown == "error":
        raise UserError(
            f"{where}: {fasta} has {unknown_record(name, lengths)} (data.unknown=skip leaves such out)"
        )
    return 1


def _said(lost: int) -> list[str]:
    return [f"{lost:,} records or rows skipped, which the FASTA lacks"] if lost else []
