"""A class for every base of a genome, from annotated features: uint8, one byte per base.

Class 0 is the rest. Where features overlap, the class named first wins. Bases of two features of
one class that differ in strand or frame have no right answer: they are `IGNORED`, as bases that are not known
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.alphabet import Ids
from dnamamba.data.gene_parts import BY_FRAME, CODON, Part, gene_parts
from dnamamba.data.intervals import BedRow, bed_rows, unknown_record
from dnamamba.data.synonyms import Synonyms
from dnamamba.errors import UserError

IGNORED = 255
NOTHING = "none"  # the class of a base without a feature
MOST = 100  # classes


class Layout(NamedTuple):
    """The classes there are.

    Attributes:
        labels: names, `none` first; with a strand at the end (`CDS1+`) where strands are told apart.
        complement: of each class the one of the same base read on the other strand.
        first: the first class of each feature and strand (`+`, `-`).
    """

    labels: tuple[str, ...]
    complement: tuple[int, ...]
    first: dict[tuple[str, str], int]


def layout(kinds: Sequence[str], *, stranded: bool) -> Layout:
    """Return the classes that features give, in order of priority.

    Args:
        kinds: as a user names them; `CDS_by_frame` is three classes, one for each position in a codon.
        stranded: whether each has classes of its own for either strand.

    Raises:
        UserError: there are none, too many, or one is named twice.
    """
    wrong = NOTHING in kinds or len(set(kinds)) != len(kinds) or not kinds
    if wrong or any(not kind for kind in kinds):
        raise UserError(
            f"data.classes: expected different kinds of features, none {NOTHING!r} (got {list(kinds)})"
        )
    labels, complement, first = [NOTHING], [0], {}
    for kind in kinds:
        names = CODON if kind == BY_FRAME else (kind,)
        for strand in "+-" if stranded else "+":
            first[kind, strand] = len(labels)
            other = 0 if not stranded else len(names) if strand == "+" else -len(names)
            for name in names:
                complement.append(len(labels) + other)
                labels.append(f"{name}{strand}" if stranded else name)
        if not stranded:
            first[kind, "-"] = first[kind, "+"]
    if len(labels) > MOST or len(set(labels)) != len(labels):
        raise UserError(
            f"data.classes: {len(labels)} classes, of which {MOST} may be, all different: {labels}"
        )
    return Layout(tuple(labels), tuple(complement), first)


def group_of(label: str) -> tuple[str, str]:
    """Return the feature and strand of a class: `CDS2-` is (`CDS`, `-`), `exon` is (`exon`, `.`)."""
    name, strand = (label[:-1], label[-1]) if label[-1] in "+-" else (label, ".")
    return ("CDS" if name in CODON else name), strand


class BaseClasses(NamedTuple):
    """What `base_classes` found.

    Attributes:
        layout: the classes.
        values: by record, uint8 [length]: a class, or `IGNORED`.
        notes: lines to say on how the features were read.
    """

    layout: Layout
    values: dict[str, NDArray[np.uint8]]
    notes: list[str]


def base_classes(
    path: str | Path,
    lengths: Mapping[str, int],
    fasta: str | Path,
    *,
    kinds: Sequence[str] | None,
    column: int | None = None,
    stranded: bool = True,
    unstranded: str = "error",
    unknown: str = "error",
) -> BaseClasses:
    """Return the class of every base, from a GFF3, GTF or BED file.

    Args:
        path: plain, gzip or BGZF.
        lengths: bases of each record in the FASTA.
        fasta: its name, for messages.
        kinds: the classes, the first of which wins; None: of a column all that are found, sorted.
        column: of a BED, the number of the column that has the class, from 4 on; None: it has genes.
        stranded: whether the strands are told apart.
        unstranded: features without a strand, where it counts: `error`, or `skip`, which counts them.
        unknown: features on records that the FASTA lacks: `error`, or `skip`, which counts them.

    Raises:
        UserError: the file or a row can't be read, a record is unknown, a feature lies outside its record or
            has no strand, or a class has no feature.
    """
    if column is not None:
        parts = list(_of_column(path, column))
        if not parts:
            raise UserError(f"{path}: no rows; give a BED with a class in column {column}")
        kinds = kinds or sorted({part.kind for part in parts})
        for kind in kinds:
            if all(part.kind != kind for part in parts):
                raise UserError(f"data.classes: no row of {path} has {kind!r} in column {column}")
        parts = [part for part in parts if part.kind in kinds]
    elif kinds is None:
        raise UserError("data.classes: which features are told apart is not said; give some, such as [CDS]")
    else:
        parts = gene_parts(path, kinds)
    found = layout(kinds, stranded=stranded)
    placed, notes = _placed(parts, lengths, fasta, stranded, unstranded, unknown)
    values = {name: _paint(placed.get(name, ()), length, kinds, found) for name, length in lengths.items()}
    undecided = sum(int((row == IGNORED).sum()) for row in values.values())
    if undecided:
        notes.append(f"{undecided:,} bases are left out: features of one class overlap there, and differ")
    return BaseClasses(found, values, notes)


def left_out(values: NDArray[np.uint8], ids: Ids, known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the classes with `IGNORED` where the base is not known.

    Args:
        values: uint8 [L].
        ids: uint8 [L], of the bases.
        known: bool [256], the ids that are bases.
    """
    return np.where(known[ids], values, np.uint8(IGNORED))


def _of_column(path: str | Path, column: int) -> Iterable[Part]:
    for row in bed_rows(path):
        where = f"{path}, row {row.number}"
        if column - 4 >= len(row.others):
            raise UserError(f"data.column: {where} has {len(row.others) + 3} columns (got {column})")
        kind = row.others[column - 4].strip()
        if kind in ("", NOTHING):
            raise UserError(
                f"{where}: column {column} must name a class, which {NOTHING!r} is not (got {kind!r}); leave "
                "bases of no class out"
            )
        yield Part(where, row.interval, _strand(row, where), kind)


def _strand(row: BedRow, where: str) -> str:
    strand = row.others[2].strip() if len(row.others) > 2 else ""
    if strand not in ("+", "-", ".", ""):
        raise UserError(f"{where}: the strand must be +, - or . (got {strand!r}); mend column 6")
    return strand or "."


def _placed(
    parts: Iterable[Part],
    lengths: Mapping[str, int],
    fasta: str | Path,
    stranded: bool,
    unstranded: str,
    unknown: str,
) -> tuple[dict[str, list[Part]], list[str]]:
    """Return the parts by record of the FASTA, and what to say of them."""
    synonyms = Synonyms(lengths)
    placed: dict[str, list[Part]] = {}
    lost, without = 0, 0
    for part in parts:
        record = synonyms.find(part.interval.name)
        if record is None:
            if unknown == "error":
                raise UserError(
                    f"{part.where}: {fasta} has {unknown_record(part.interval.name, lengths)} "
                    "(data.unknown=skip leaves such rows out)"
                )
            lost += 1
        elif part.interval.end > lengths[record]:
            raise UserError(
                f"{part.where}: ends at {part.interval.end:,}, but record {record} of {fasta} has "
                f"{lengths[record]:,} bases; is the annotation of another assembly?"
            )
        elif part.strand == "." and (stranded or part.kind == BY_FRAME):
            if unstranded == "error":
                merge = "set data.strand=merged to tell no strands apart, or "
                raise UserError(
                    f"{part.where}: {part.kind} without a strand; "
                    f"{'' if part.kind == BY_FRAME else merge}data.unstranded=skip leaves such rows out"
                )
            without += 1
        else:
            placed.setdefault(record, []).append(part)
    if not placed:
        raise UserError(f"data.annotation: no feature lies on a record of {fasta}")
    notes = [f"{lost:,} rows skipped, on records that the FASTA lacks"] if lost else []
    notes += [f"{without:,} rows skipped, without a strand"] if without else []
    return placed, [*notes, *synonyms.said()]


def _paint(parts: Iterable[Part], length: int, kinds: Sequence[str], found: Layout) -> NDArray[np.uint8]:
    """Return the classes of a record, uint8 [length]."""
    values = np.zeros(length, dtype=np.uint8)
    by_kind: dict[str, list[Part]] = {}
    for part in parts:
        by_kind.setdefault(part.kind, []).append(part)
    for kind in reversed(kinds):
        layer = np.zeros(length, dtype=np.uint8)
        for part in by_kind.get(kind, ()):
            place = slice(part.interval.start, part.interval.end)
            new = np.full(part.interval.length, found.first[kind, part.strand.replace(".", "+")], np.uint8)
            if kind == BY_FRAME:
                offset = np.arange(part.interval.length)
                new += ((offset - part.phase) % 3).astype(np.uint8)
                new = new[::-1] if part.strand == "-" else new
            old = layer[place]
            layer[place] = np.where((old == 0) | (old == new), new, IGNORED)
        values = np.where(layer == 0, values, layer)
    return values
