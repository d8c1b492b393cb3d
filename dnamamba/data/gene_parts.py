"""Parts of genes as files have them: the bases of genes, exons, codons, introns and splice sites.

A part is an interval of one class. Rows of GFF3 and GTF are parts by their third column; rows of a BED with
blocks (BED12) are a gene, its exons (the blocks) and its CDS (what of them is thick). Introns and splice
sites are what lies between the exons of a transcript, or between the parts of its CDS where there are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from dnamamba.data.annotation import Feature, counted, features_of_kinds, is_annotation
from dnamamba.data.intervals import BED12, BedRow, Interval, bed_rows
from dnamamba.errors import UserError

BY_FRAME = "CDS_by_frame"
CODON = ("CDS1", "CDS2", "CDS3")
INTRON, DONOR, ACCEPTOR = "intron", "donor", "acceptor"
SITE = 2  # bases of a splice site: GT and AG, mostly
_BETWEEN = (INTRON, DONOR, ACCEPTOR)
_BLOCKS = ("gene", "exon", "CDS", BY_FRAME, *_BETWEEN)
_PARENTS = ("Parent", "transcript_id")


class Part(NamedTuple):
    """Bases of one class.

    Attributes:
        where: it stands in its file, for messages.
        interval: as the file has it.
        strand: `+`, `-` or `.`.
        kind: one of the classes asked for.
        phase: of a CDS by frame, bases before the first whole codon: 0, 1 or 2; else 0.
    """

    where: str
    interval: Interval
    strand: str
    kind: str
    phase: int = 0


def gene_parts(path: str | Path, kinds: Sequence[str]) -> list[Part]:
    """Return the parts of some kinds in a GFF3, GTF or BED12 file.

    Args:
        path: plain, gzip or BGZF; its name says GFF3 or GTF, anything else is a BED.
        kinds: third columns; or `CDS_by_frame`, `intron`, `donor`, `acceptor`, which are worked out.

    Raises:
        UserError: the file or a row can't be read, a kind has no row, or a CDS has no phase.
    """
    if not is_annotation(path):
        parts = [part for row in bed_rows(path) for part in _of_blocks(row, path, kinds)]
        wrong = [kind for kind in kinds if kind not in _BLOCKS]
        if wrong:
            raise UserError(
                f"data.classes: a BED with blocks has {', '.join(_BLOCKS)} (got {wrong[0]!r}); or name the "
                "column that has the class with data.column"
            )
        missing, known = set(kinds) - {part.kind for part in parts}, f"{path} has BED rows without it"
    else:
        found: Counter[str] = Counter()
        parts = list(_of_rows(path, kinds, found))
        missing, known = set(kinds) - {part.kind for part in parts}, f"{path} has {counted(found)}"
    for kind in kinds:
        if kind in missing:
            raise UserError(f"data.classes: no row gives {kind!r}; {known}")
    return parts


def _of_rows(path: str | Path, kinds: Sequence[str], found: Counter[str]) -> Iterator[Part]:
    wanted = {"CDS" if kind == BY_FRAME else kind for kind in kinds}
    between = [kind for kind in kinds if kind in _BETWEEN]
    if between:
        wanted |= {"exon", "CDS", INTRON}
    rows = list(features_of_kinds(path, wanted, found))
    for row in rows:
        where = f"{path}, row {row.number}"
        if row.kind in kinds and row.kind not in _BETWEEN:
            yield Part(where, row.interval, row.strand, row.kind)
        if row.kind == "CDS" and BY_FRAME in kinds:
            if row.phase not in ("0", "1", "2"):
                raise UserError(
                    f"{where}: a CDS by frame needs its phase, 0, 1 or 2 in column 8 (got {row.phase!r}); "
                    "mend it, or ask for the class CDS"
                )
            yield Part(where, row.interval, row.strand, BY_FRAME, int(row.phase))
    if between:
        introns = [(f"{path}, row {row.number}", row) for row in rows if row.kind == INTRON]
        for where, row in introns or _gaps(path, rows):
            yield from _around(where, row.interval, row.strand, between)


def _gaps(path: str | Path, rows: Sequence[Feature]) -> Iterator[tuple[str, Feature]]:
    """Yield the gaps between each transcript's exons; in a file without exons, between parts of a CDS."""
    kind = "exon" if any(row.kind == "exon" for row in rows) else "CDS"
    transcripts: dict[str, list[Feature]] = {}
    for row in rows:
        if row.kind == kind:
            parents = next((row.attributes[key] for key in _PARENTS if key in row.attributes), None)
            if parents is None:
                raise UserError(
                    f"{path}, row {row.number}: introns are worked out by transcript, and this {kind} has "
                    "neither Parent nor transcript_id; add it, or rows of introns"
                )
            for parent in parents.split(","):
                transcripts.setdefault(parent, []).append(row)
    seen = set()
    for parts in transcripts.values():
        for one, other in pairwise(sorted(parts, key=lambda row: row.interval)):
            gap = Interval(one.interval.name, one.interval.end, other.interval.start)
            same = one.interval.name == other.interval.name and one.strand == other.strand
            if same and gap.length > 0 and (gap, one.strand) not in seen:
                seen.add((gap, one.strand))
                yield f"{path}, row {one.number}", one._replace(interval=gap, kind=INTRON)


def _around(where: str, intron: Interval, strand: str, kinds: Sequence[str]) -> Iterator[Part]:
    """Yield an intron and its two ends; one too short to have two ends has none."""
    if INTRON in kinds:
        yield Part(where, intron, strand, INTRON)
    if intron.length < 2 * SITE or strand == ".":
        return
    left, right = (intron._replace(end=intron.start + SITE), intron._replace(start=intron.end - SITE))
    donor, acceptor = (left, right) if strand == "+" else (right, left)
    for kind, place in ((DONOR, donor), (ACCEPTOR, acceptor)):
        if kind in kinds:
            yield Part(where, place, strand, kind)


def _of_blocks(row: BedRow, path: str | Path, kinds: Sequence[str]) -> Iterator[Part]:
    where = f"{path}, row {row.number}"
    if len(row.others) + 3 < BED12:
        raise UserError(
            f"{where}: {len(row.others) + 3} columns, but genes need the 12 of a BED with blocks; name the "
            "column that has the class with data.column"
        )
    strand = row.others[2].strip() or "."
    if strand not in ("+", "-", "."):
        raise UserError(f"{where}: the strand must be +, - or . (got {strand!r}); mend column 6")
    blocks, coding = blocks_of(row, where)
    if "gene" in kinds:
        yield Part(where, row.interval, strand, "gene")
    if "exon" in kinds:
        yield from (Part(where, block, strand, "exon") for block in blocks)
    if "CDS" in kinds:
        yield from (Part(where, block, strand, "CDS") for block in coding)
    if BY_FRAME in kinds:
        done = 0
        for block in coding if strand != "-" else reversed(coding):
            yield Part(where, block, strand, BY_FRAME, -done % 3)
            done += block.length
    for one, other in pairwise(blocks):
        gap = Interval(one.name, one.end, other.start)
        if gap.length > 0:
            yield from _around(where, gap, strand, [kind for kind in kinds if kind in _BETWEEN])


def blocks_of(row: BedRow, where: str) -> tuple[list[Interval], list[Interval]]:
    """Return the blocks of a BED12 row in the order of the record, and what of them is thick: its CDS.

    Args:
        row: of 12 columns.
        where: it stands, for messages.

    Raises:
        UserError: its columns are not blocks within it.
    """
    blocks = _blocks(row, where)
    thick = [_number(row.others[column], where) for column in (3, 4)]
    coding = [b._replace(start=max(b.start, thick[0]), end=min(b.end, thick[1])) for b in blocks]
    return blocks, [block for block in coding if block.length > 0]


def _blocks(row: BedRow, where: str) -> list[Interval]:
    number = _number(row.others[6], where)
    sizes, starts = (
        [_number(value, where) for value in row.others[column].strip().strip(",").split(",")]
        for column in (7, 8)
    )
    name, start, end = row.interval
    blocks = sorted(
        Interval(name, start + first, start + first + size)
        for first, size in zip(starts, sizes, strict=False)
    )
    if not len(sizes) == len(starts) == number or any(not start <= b.start < b.end <= end for b in blocks):
        raise UserError(f"{where}: columns 10 to 12 are not {number} blocks within the row; mend them")
    return blocks


def _number(text: str, where: str) -> int:
    if not text.strip().isdigit():
        raise UserError(f"{where}: {text.strip()[:40]!r} is not a whole number; mend the row")
    return int(text)
