"""Regions of a genome as people bring them: rows of BED, GFF3 and GTF, placed on a FASTA file's records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

from dnamamba.data.annotation import features, is_annotation
from dnamamba.data.intervals import BedRow, Interval, bed_rows, unknown_record
from dnamamba.data.synonyms import Synonyms
from dnamamba.errors import UserError

UNKNOWN = ("error", "skip")
_BASE = re.compile(r"[0-9]{1,18}")
_NAMES = ("ID", "gene_id", "Name")  # attributes that name a feature where none is asked for


def parse_region(text: str, lengths: Mapping[str, int], synonyms: Synonyms | None = None) -> Interval:
    """Parse `chrI:1001-2,000` as samtools does: from 1, the end included; `chrI` alone is all of it.

    Args:
        text: as typed.
        lengths: bases of each record.
        synonyms: finds the record that a name means, and can say so; None: any synonym is taken.

    Raises:
        UserError: no region, an unknown record, or bases that it does not have.

    >>> parse_region("1:1,001-2000", {"chr1": 5000})
    Interval(name='chr1', start=1000, end=2000)
    """
    synonyms = synonyms or Synonyms(lengths)
    name, _, bases = text.rpartition(":")
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", bases.replace(",", ""))
    if text in lengths:
        if found and name in lengths and 1 <= int(found[1]) <= int(found[2]) <= lengths[name]:
            raise UserError(
                f"region {text!r}: is a record, and an interval of the record {name}; write "
                f"{text}:1-{lengths[text]} for the first, or rename it"
            )
        return Interval(text, 0, lengths[text])
    record = synonyms.find(name if found else text)
    if not found:
        if record is not None:
            return Interval(record, 0, lengths[record])
        if name not in lengths and not _BASE.match(bases):
            raise UserError(f"region {text!r}: {unknown_record(text, lengths)}")
        raise UserError(f"region {text!r} is not NAME:START-END, such as chrI:1001-2000")
    if record is None:
        raise UserError(f"region {text!r}: {unknown_record(name, lengths)}")
    start, end = int(found[1]), int(found[2])
    if not 1 <= start <= end <= lengths[record]:
        raise UserError(f"region {text!r}: {record} has bases 1 to {lengths[record]:,}")
    return Interval(record, start - 1, end)


@dataclass
class RegionsConfig:
    """Which rows of a BED, GFF3 or GTF file are regions, and which bases of each are read.

    Args:
        feature: the third column of GFF3 and GTF, such as gene; required there.
        name: what names a region: an attribute; of a BED the number of a column. None: ID or gene_id; 4.
        label: what labels it, likewise; None: nothing; of a BED column 4.
        upstream: bases before the region's beginning, by strand, read instead of the region.
        downstream: with upstream, bases from the region's beginning on.
        flank: bases added at both ends.
        unknown: rows on records that the FASTA lacks: `error`, or `skip`, which counts them.
        circular: records without ends: windows continue at the other end; a region may end past the last
            base, as in GFF3.

    Raises:
        UserError: a value is out of range; the message names it.
    """

    feature: str | None = None
    name: str | None = None
    label: str | None = None
    upstream: int | None = None
    downstream: int = 0
    flank: int = 0
    unknown: str = "error"
    circular: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for key in ("feature", "name", "label"):
            text = getattr(self, key)
            if not isinstance(text, str | None):
                raise UserError(f"regions.{key}: must be a text (got {text!r}); write {str(text)!r}")
        if isinstance(self.circular, str):
            raise UserError(f"regions.circular: must be a list (got {self.circular!r}); put it into one")
        for key in ("upstream", "downstream", "flank"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, Integral | None):
                raise UserError(f"regions.{key}: must be a whole number of bases (got {value!r})")
            if value is not None and value < 0:
                raise UserError(f"regions.{key}: must be at least 0 bases (got {value})")
        if self.downstream and self.upstream is None:
            raise UserError(
                "regions.downstream: bases after the beginning of a region go with regions.upstream; "
                "set regions.upstream=0 to read none before it"
            )
        if self.upstream == 0 and not self.downstream:
            raise UserError("regions.upstream: 0 bases are nothing to read; set regions.downstream too")
        if self.unknown not in UNKNOWN:
            raise UserError(f"regions.unknown: must be {' or '.join(UNKNOWN)} (got {self.unknown!r})")


AS_THEY_ARE = RegionsConfig()


class RegionRow(NamedTuple):
    """A region.

    Attributes:
        where: it stands in its file, for messages.
        interval: of a record of the FASTA.
        name: as the file has it, or ''.
        strand: `+`, `-` or `.`.
        label: as the file has it; None where none is there.
    """

    where: str
    interval: Interval
    name: str
    strand: str
    label: str | None


class Regions(NamedTuple):
    """The rows of a file, lines to say on how they were read, and the records that are circular."""

    rows: list[RegionRow]
    notes: list[str]
    circular: frozenset[str]


def read_regions(
    path: str | Path, lengths: Mapping[str, int], fasta: str | Path, how: RegionsConfig = AS_THEY_ARE
) -> Regions:
    """Return the regions that a BED (also narrowPeak and broadPeak), GFF3 or GTF file names, in its order.

    Windows that `how` makes are cut where the record ends; what the file itself says must lie within.

    Args:
        path: plain, gzip or BGZF; its name says GFF3 or GTF, anything else is a BED.
        lengths: bases of each record in the FASTA.
        fasta: its name, for messages.
        how: which rows, and what of them.

    Raises:
        UserError: the file or a row can't be read, a record is unknown, or a region lies outside its own.
    """
    if not is_annotation(path) and how.feature is not None:
        raise UserError(f"regions.feature: {path} is a BED, without features (got {how.feature!r})")
    rows = _annotated(path, how) if is_annotation(path) else _bed(path, how)
    circular = _circles(lengths, fasta, how.circular)
    synonyms, kept = Synonyms(lengths), []
    lost: dict[str, int] = {}
    for row in rows:
        record = synonyms.find(row.interval.name)
        if record is None:
            if how.unknown == "error":
                raise UserError(
                    f"{row.where}: {fasta} has {unknown_record(row.interval.name, lengths)} "
                    "(regions.unknown=skip leaves such rows out)"
                )
            lost[row.interval.name] = lost.get(row.interval.name, 0) + 1
            continue
        place = row.interval._replace(name=record)
        round_ = record in circular and place.start < lengths[record] and place.length <= lengths[record]
        if place.end > lengths[record] and not round_:
            raise UserError(
                f"{row.where}: ends at {place.end:,}, but record {record} of {fasta} has "
                f"{lengths[record]:,} bases"
            )
        kept.append(row._replace(interval=_window(place, row, lengths[record], how, record in circular)))
    if not kept:
        raise UserError(f"{path}: no regions" + (f" on records of {fasta}" if lost else ""))
    return Regions(kept, [*_said(lost), *synonyms.said()], circular)


def _circles(lengths: Mapping[str, int], fasta: str | Path, names: Sequence[str]) -> frozenset[str]:
    """Return the records that are said to be circular."""
    synonyms = Synonyms(lengths)
    found = {name: synonyms.find(name) for name in names}
    for name, record in found.items():
        if record is None:
            raise UserError(f"regions.circular: {fasta} has {unknown_record(name, lengths)}")
    return frozenset(record for record in found.values() if record is not None)


def _said(lost: dict[str, int]) -> list[str]:
    if not lost:
        return []
    shown = ", ".join(f"{name} ({count:,})" for name, count in list(lost.items())[:5])
    more = f", and {len(lost) - 5:,} more" if len(lost) > 5 else ""
    return [f"{sum(lost.values()):,} regions skipped, on records that the FASTA lacks: {shown}{more}"]


def _window(
    place: Interval, row: RegionRow, length: int, how: RegionsConfig, circular: bool = False
) -> Interval:
    """Return the bases to read, within the record; of a circular one up to a whole round, past its end."""
    name, start, end = place
    if how.upstream is not None:
        if row.strand == "-":
            start, end = end - how.downstream, end + how.upstream
        else:
            start, end = start - how.upstream, start + how.downstream
    start, end = start - how.flank, end + how.flank
    if circular:
        start, end = start % length, start % length + min(end - start, length)
    else:
        start, end = max(0, start), min(length, end)
    if start >= end:
        raise UserError(f"{row.where}: no base is upstream of it; {name} ends there")
    return Interval(name, start, end)


def _annotated(path: str | Path, how: RegionsConfig) -> Iterator[RegionRow]:
    for feature in features(path, how.feature):
        where = f"{path}, row {feature.number}"
        found = feature.attributes
        names = _NAMES if how.name is None else (how.name,)
        name = next((found[key] for key in names if key in found), None)
        if name is None and how.name is not None:
            raise _no_attribute("name", how.name, found, where)
        if how.label is not None and how.label not in found:
            raise _no_attribute("label", how.label, found, where)
        label = None if how.label is None else found[how.label]
        yield RegionRow(where, feature.interval, name or "", feature.strand, label)


def _no_attribute(key: str, name: str, found: Mapping[str, str], where: str) -> UserError:
    known = ", ".join(found) or "none"
    return UserError(f"regions.{key}: {where} has no attribute {name!r}; its attributes are {known}")


def _bed(path: str | Path, how: RegionsConfig) -> Iterator[RegionRow]:
    name, label = (_column(key, getattr(how, key)) for key in ("name", "label"))
    for row in bed_rows(path):
        where = f"{path}, row {row.number}"
        own, strand = row.name_and_strand(where)
        given = own if name is None else _cell(row, name, "name", where)
        yield RegionRow(where, row.interval, given or "", strand, _cell(row, label, "label", where))


def _column(key: str, given: str | None) -> int | None:
    """Return the number of a BED's column after the third, from 0; None for the fourth where it is there."""
    if given is None:
        return None
    if not given.isdigit() or int(given) < 4:
        raise UserError(f"regions.{key}: of a BED, the number of a column from 4 on (got {given!r})")
    return int(given) - 4


def _cell(row: BedRow, column: int | None, key: str, where: str) -> str | None:
    if column is None:
        return row.others[0].strip() if row.others else None
    if column >= len(row.others):
        raise UserError(f"regions.{key}: {where} has {len(row.others) + 3} columns (got {column + 4})")
    return row.others[column].strip()
