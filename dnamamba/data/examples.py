"""Labelled sequences of a user's own files: readers that differ in where the label stands."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.alphabet import Alphabet, Ids, get_alphabet
from dnamamba.data.annotation import is_annotation
from dnamamba.data.fasta import NUCLEOTIDE, Genome
from dnamamba.data.folders import classes_of, split_folders, stem_of
from dnamamba.data.intervals import Interval
from dnamamba.data.region_labels import Labels
from dnamamba.data.regions import RegionsConfig, read_regions
from dnamamba.data.stateless import Int64s
from dnamamba.data.tables import read_table
from dnamamba.data.target_cells import joined_cells
from dnamamba.errors import UserError


@dataclass(frozen=True)
class Examples:
    """Sequences and what the files say of each; nothing is decided yet.

    Attributes:
        names: of each sequence, for people.
        ids: uint8 [total], all sequences one after the other.
        offsets: int64 [n + 1], where each begins.
        labels: as written.
        splits: as written, or None where the files name none.
        groups: the chromosome or group of each, or None.
        places: where in a genome each lies, or None.
    """

    names: list[str]
    ids: Ids
    offsets: Int64s
    labels: list[str]
    splits: list[str] | None
    groups: list[str] | None
    places: list[Interval] | None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Ids:
        """Return the bases of a sequence: uint8 [length], a view."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]

    @property
    def lengths(self) -> Int64s:
        """Bases of each: int64 [n]."""
        return np.diff(self.offsets)


@dataclass
class Collector:
    """Takes sequences one by one, and refuses them together: one line with a count and the first offender."""

    alphabet: Alphabet
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    places: list[Interval] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    strands: set[str] = field(default_factory=set)  # that regions were given with
    _pieces: list[Ids] = field(default_factory=list)
    _foreign: tuple[int, int, str] = (0, 0, "")  # letters, sequences, the first
    _empty: tuple[int, str] = (0, "")
    _unlabelled: tuple[int, str] = (0, "")

    def add(
        self,
        letters: NDArray[np.uint8],
        name: str,
        where: str,
        label: str | None,
        split: str = "",
        group: str = "",
        place: Interval | None = None,
    ) -> None:
        """Add one sequence; `where` names it in a message, and a label of None says that it needs none.

        Args:
            letters: uint8 [length], bytes of the file.
            name: of the sequence.
            where: the file and row, for messages.
            label: as written; None: it needs none.
            split: `train`, `valid`, `test` or empty.
            group: sequences of one group stay in one split.
            place: its interval of a genome, if it has one.
        """
        if not letters.size:
            self._empty = self._empty[0] + 1, self._empty[1] or where
        if label == "":
            self._unlabelled = self._unlabelled[0] + 1, self._unlabelled[1] or where
        if self.alphabet.name == "dna":
            strange = np.flatnonzero(~NUCLEOTIDE[letters])
            if strange.size:
                count, sequences, first = self._foreign
                here = f"{chr(letters[strange[0]])!r} at position {strange[0] + 1:,} of {where}"
                self._foreign = count + strange.size, sequences + 1, first or here
        self._pieces.append(self.alphabet.encode(letters))
        self.names.append(name)
        self.labels.append(label or "")
        self.splits.append(split)
        self.groups.append(group)
        if place is not None:
            self.places.append(place)

    def examples(self, *, needs_label: bool = True) -> Examples:
        """Return all examples added so far.

        Raises:
            UserError: there are none, some are empty, have no label, or hold letters that are not bases.
        """
        if not self.names:
            raise UserError("there is no sequence in what data names")
        if self._empty[0]:
            raise UserError(f"{self._empty[0]:,} empty sequence(s), the first is {self._empty[1]}")
        if needs_label and self._unlabelled[0]:
            raise UserError(
                f"{self._unlabelled[0]:,} sequence(s) with no label, the first is {self._unlabelled[1]}"
            )
        count, sequences, first = self._foreign
        if count:
            raise UserError(
                f"{count:,} letter(s) in {sequences:,} sequence(s) are not nucleotide codes, "
                f"the first is {first}"
            )
        offsets = np.zeros(len(self._pieces) + 1, dtype=np.int64)
        np.cumsum([piece.size for piece in self._pieces], out=offsets[1:])
        ids = np.concatenate(self._pieces)
        return Examples(
            self.names,
            ids,
            offsets,
            self.labels,
            self.splits if any(self.splits) else None,
            self.groups if any(self.groups) else None,
            self.places or None,
        )


@contextmanager
def _keys_of_data() -> Iterator[None]:
    """Name the keys of errors as a fine-tuning has them: `columns` of `predict` is `data.columns` here."""
    try:
        yield
    except UserError as error:
        raise UserError(re.sub(r"(?<![\w.])(regions|columns)\.", r"data.\1.", str(error))) from None


def letters_of(path: str | Path) -> Genome:
    """Open a FASTA file with its letters unchanged, so that strange ones can be named."""
    return Genome(path, get_alphabet("bytes"))


def from_classes(files: Mapping[str, Sequence[str | Path]], into: Collector, split: str = "") -> None:
    """Add FASTA files by class; the group of a sequence is its file's name without the suffix.

    Args:
        files: FASTA files by class.
        into: takes the sequences.
        split: of all of them, or empty.
    """
    for label, paths in files.items():
        for path in map(Path, paths):
            genome = letters_of(path)
            group = stem_of(path)
            for name in genome.names:
                into.add(genome.fetch(name), name, f"{path}, record {name}", str(label), split, group)


def from_folder(folder: str | Path, into: Collector) -> None:
    """Add a folder of classes, each a folder of FASTA files or one file; or a folder of such splits.

    Raises:
        UserError: there is no such folder, or it holds what is neither split nor class.
    """
    folder = Path(os.path.expanduser(folder))
    if not folder.is_dir():
        raise UserError(f"data.folder: {folder} is not a folder")
    splits = split_folders(folder)
    for split, path in splits.items():
        from_classes(classes_of(path), into, split)
    if not splits:
        from_classes(classes_of(folder), into)


def labels_of_regions(
    path: str | Path, columns: Mapping[str, str], into: Collector, texts: Collection[str] = ()
) -> Labels:
    """Read a table of id and label.

    Args:
        path: CSV, TSV, Excel or Parquet.
        columns: the table's names of our columns.
        into: takes notes on how it was read.
        texts: see `dnamamba.data.tables.read_table`.

    Raises:
        UserError: an id is there twice.
    """
    with _keys_of_data():
        table = read_table(path, ("id", "label"), (), columns, texts)
    into.notes += table.notes
    label_of: dict[str, str] = {}
    for name, label, line in zip(table.columns["id"], table.columns["label"], table.rows, strict=True):
        if name in label_of:
            raise UserError(f"{path}, line {line}: id {name!r} is there twice; give each region one label")
        label_of[name] = label
    return Labels(path, label_of)


def from_label_table(
    fasta: str | Path,
    labels: str | Path,
    columns: Mapping[str, str],
    into: Collector,
    targets: Mapping[str, str] | None = None,
    texts: Collection[str] = (),
) -> None:
    """Add a FASTA file's sequences, labelled by a table of id, label and perhaps split and group.

    Args:
        fasta: the sequences.
        labels: the table's path.
        columns: the table's names of our columns.
        into: takes the sequences.
        targets: kinds of several columns that are labels together, in the place of `label`.
        texts: see `dnamamba.data.tables.read_table`.

    Raises:
        UserError: an id is there twice, a label has no sequence or a sequence no label.
    """
    with _keys_of_data():
        table = read_table(labels, ("id", *(targets or ("label",))), ("split", "group"), columns, texts)
    into.notes += table.notes
    genome = letters_of(fasta)
    row_of: dict[str, int] = {}
    for row, name in enumerate(table.columns["id"]):
        if name in row_of:
            first = table.rows[row_of[name]]
            raise UserError(f"{labels}, line {table.rows[row]}: id {name!r} was on line {first} already")
        row_of[name] = row
    strays = [name for name in row_of if name not in genome.lengths]
    if strays:
        line = table.rows[row_of[strays[0]]]
        raise UserError(
            f"{labels}: {len(strays):,} label(s) with no sequence in {fasta}, the first is {strays[0]!r} "
            f"on line {line}"
        )
    bare = [name for name in genome.names if name not in row_of]
    if bare:
        raise UserError(
            f"{fasta}: {len(bare):,} sequence(s) with no label in {labels}, the first is {bare[0]!r}"
        )
    for name in genome.names:
        row = row_of[name]
        cells = {key: values[row] for key, values in table.columns.items()}
        into.add(
            genome.fetch(name),
            name,
            f"{fasta}, record {name}",
            cells["label"] if targets is None else joined_cells(cells, targets, f"{labels}, id {name}"),
            cells.get("split", ""),
            cells.get("group", ""),
        )


def from_table(
    path: str | Path,
    columns: Mapping[str, str],
    into: Collector,
    targets: Mapping[str, str] | None = None,
    texts: Collection[str] = (),
) -> None:
    """Add the sequences of a table of sequence, label and perhaps id, split and group.

    Args:
        path: CSV, TSV, Excel or Parquet.
        columns: the table's names of our columns.
        into: takes the sequences.
        targets, texts: as of `from_label_table`.
    """
    with _keys_of_data():
        required = ("sequence", *(targets or ("label",)))
        table = read_table(path, required, ("id", "split", "group"), columns, texts)
    into.notes += table.notes
    for row, line in enumerate(table.rows):
        cells = {key: values[row] for key, values in table.columns.items()}
        where = f"{path}, line {line}"
        letters = np.frombuffer(_as_bytes(cells["sequence"], where), dtype=np.uint8)
        name = cells.get("id") or f"line_{line}"
        label = cells["label"] if targets is None else joined_cells(cells, targets, where)
        into.add(letters, name, where, label, cells.get("split", ""), cells.get("group", ""))


def _as_bytes(text: str, where: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: {text[error.start]!r} at position {error.start + 1:,} is not a base"
        ) from None


def from_regions(
    fasta: str | Path, path: str | Path, how: RegionsConfig, into: Collector, labels: Labels | None = None
) -> list[str]:
    """Add intervals of a FASTA file labelled by a BED, GFF3 or GTF file; `-` is the reverse complement.

    The group of a sequence is its record, to hold out chromosomes. Its name is the region's where `how.name`
    or `labels` asks for names (column 4 of a BED may be a label), else its place.

    Args:
        fasta: the genome.
        path: the BED, GFF3 or GTF file.
        how: which rows, and what of each.
        into: takes the sequences.
        labels: of regions by their names, in place of the file's; a region without one is left out, counted.

    Returns:
        Lines to say on how they were read.

    Raises:
        UserError: the row whose record or place is not there, whose strand is none, or that has blocks; or
            no region has a label.
    """
    if is_annotation(path) and how.label is None and labels is None:
        raise UserError(
            f"data.regions.label: which attribute of {path} is the label? Name it, or give data.labels, a "
            "table of id and label"
        )
    genome, complement = letters_of(fasta), get_alphabet("bytes").reverse_complement
    with _keys_of_data():
        regions = read_regions(path, genome.lengths, fasta, how)
    genome.close(regions.circular, "data.regions.circular")
    if labels is not None:
        regions = labels.given_to(regions, path)
    for row in regions.rows:
        into.strands.add(row.strand)
        letters, (record, start, end) = genome.fetch(*row.interval), row.interval
        letters = complement(letters) if row.strand == "-" else letters
        place = f"{record}:{start}-{end}" + (f"({row.strand})" if row.strand != "." else "")
        name = (row.name if how.name is not None or labels is not None else "") or place
        into.add(letters, name, row.where, row.label or "", group=record, place=row.interval)
    return regions.notes
