"""What is to be read: sequences, the records of a FASTA file, or regions of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np

from dnamamba.data.alphabet import Alphabet, Ids, need_bases
from dnamamba.data.fasta import NUCLEOTIDE, Genome
from dnamamba.data.intervals import unknown_record
from dnamamba.data.numbers import whole_number
from dnamamba.data.regions import AS_THEY_ARE, RegionsConfig, read_regions
from dnamamba.data.synonyms import Synonyms
from dnamamba.errors import UserError

Path = str | os.PathLike[str]
Bed = Path | Iterable[Sequence[Any]]
Source = Path | Genome | tuple[Path | Genome, Bed] | Iterable[str | bytes | Ids]


class Region(NamedTuple):
    """Bases `start` (0-based, included) to `end` (not included) of a record.

    Attributes:
        name: of the BED row, or ''.
        strand: `-` is read as the reverse complement; `+`, or `.` where the file says none.
    """

    record: str
    start: int
    end: int
    name: str = ""
    strand: str = "+"

    @property
    def length(self) -> int:
        """Number of bases."""
        return self.end - self.start

    @property
    def where(self) -> str:
        """The region as it is written, from 1 and with its end: chr1:1-100."""
        return f"{self.record}:{self.start + 1}-{self.end}"


class Inputs:
    """Regions in the order in which they were given, and their bases.

    Args:
        regions: each within its record.
        sequences: a genome, or the ids of each record by name.
        alphabet: of the ids.
        notes: lines to say on how the regions were read.
        labels: of each region, where its file has some.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        sequences: Genome | dict[str, Ids],
        alphabet: Alphabet,
        notes: Sequence[str] = (),
        labels: Sequence[str | None] | None = None,
    ) -> None:
        self.regions = list(regions)
        self.notes = tuple(notes)
        self.labels = None if labels is None else list(labels)
        self.alphabet = alphabet
        self._sequences = sequences

    def ids(self, record: str, start: int, end: int) -> Ids:
        """Return the ids of an interval, uint8 [end - start], read-only.

        Args:
            record: its name.
            start, end: 0-based, `end` not included.
        """
        if isinstance(self._sequences, Genome):
            return self._sequences.fetch(record, start, end)
        return self._sequences[record][start:end]

    def load(self, records: Iterable[str]) -> None:
        """Read these records now: small ones kept one by one between large temporaries scatter the memory."""
        if isinstance(self._sequences, Genome):
            self._sequences.load(records)

    def need_linear(self, what: str) -> None:
        """Refuse regions that go past the end of a circular record, where places have no such thing.

        Raises:
            UserError: naming the first of them.
        """
        for region in self.regions:
            if region.end > self.length(region.record):
                raise UserError(
                    f"regions.circular: {region.where} goes past the end of {region.record}, which {what} "
                    "can't show; write a table, or leave such regions out"
                )

    def length(self, record: str) -> int:
        """Return bases of a whole record."""
        if isinstance(self._sequences, Genome):
            return self._sequences.lengths[record]
        return self._sequences[record].size


def read_inputs(source: Source, alphabet: Alphabet, how: RegionsConfig = AS_THEY_ARE) -> Inputs:
    """Read any form of input that a user may give.

    Args:
        source: a FASTA file or a `Genome` (its records, whole); a pair of that and a BED, GFF3 or GTF file
            or rows (record, start, end[, name[, strand]]); or sequences as letters or as ids, uint8 [L] each
            or [B, L] in all, where padding at either end is taken off. A record of a sequence is its number,
            from 0.
        alphabet: the model's.
        how: which rows of a BED, GFF3 or GTF file are read, and what of them.

    Raises:
        UserError: a file can't be read, a region lies outside its record, its strand is unknown, it has
            blocks (BED12), or a sequence is empty or no DNA.
    """
    if not isinstance(source, tuple) and how != AS_THEY_ARE:
        raise UserError("regions: says how a BED, GFF3 or GTF file is read, which is not given; give it")
    if isinstance(source, tuple):
        if len(source) != 2:
            raise UserError(f"give sequences in a list, not a tuple of {len(source)}; a pair is (fasta, bed)")
        genome = _genome(cast(Path | Genome, source[0]), alphabet)
        return _regions(cast(Bed, source[1]), genome, how)
    if isinstance(source, str | os.PathLike | Genome):
        genome = _genome(source, alphabet)
        return Inputs([Region(name, 0, length) for name, length in genome.lengths.items()], genome, alphabet)
    sequences = {str(i): _sequence(given, i, alphabet) for i, given in enumerate(source)}
    if not sequences:
        raise UserError("there are no sequences to read")
    return Inputs([Region(name, 0, ids.size) for name, ids in sequences.items()], sequences, alphabet)


def need_alphabet(genome: Genome, alphabet: Alphabet) -> None:
    """Check that a genome was read in the model's `alphabet`.

    Raises:
        UserError: it was read in another.
    """
    if genome.alphabet is not alphabet:
        raise UserError(
            f"{genome.path} was read as {genome.alphabet.name!r}; the model's alphabet is {alphabet.name!r}"
        )


def _genome(source: Path | Genome, alphabet: Alphabet) -> Genome:
    if isinstance(source, Genome):
        need_alphabet(source, alphabet)
        return source
    text = os.fspath(source)
    if not os.path.exists(text) and len(text) and NUCLEOTIDE[alphabet_letters(text)].all():
        raise UserError(f"{text[:40]}: no such file; if this is a sequence, give it in a list")
    return Genome(source, alphabet)


def alphabet_letters(text: str) -> Ids:
    """Return the bytes of a text, one a character, '?' for those beyond Latin-1."""
    return np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)


def _regions(bed: Bed, genome: Genome, how: RegionsConfig) -> Inputs:
    if isinstance(bed, str | os.PathLike):
        found = read_regions(os.fspath(bed), genome.lengths, genome.path, how)
        genome.close(found.circular, "regions.circular")
        rows = [Region(*row.interval, row.name, row.strand) for row in found.rows]
        return Inputs(rows, genome, genome.alphabet, found.notes, [row.label for row in found.rows])
    synonyms, regions = Synonyms(genome.lengths), []
    for number, row in enumerate(bed):
        region = _given_region(row, number)
        record = synonyms.find(region.record)
        if record is None:
            raise UserError(
                f"region {number}: {genome.path} has {unknown_record(region.record, genome.lengths)}"
            )
        length = genome.lengths[record]
        if not 0 <= region.start < region.end <= length:
            raise UserError(
                f"region {number}: {record} {region.start:,} to {region.end:,} is not an interval of "
                f"that record, which has {length:,} bases in {genome.path}"
            )
        regions.append(region._replace(record=record))
    if not regions:
        raise UserError("the regions: no regions")
    return Inputs(regions, genome, genome.alphabet, synonyms.said())


def in_order(inputs: Inputs) -> list[Region]:
    """Return the regions in a bigWig's order.

    Raises:
        UserError: two of them overlap: a base has one value.
    """
    regions = sorted(inputs.regions)
    for one, other in pairwise(regions):
        if one.record == other.record and other.start < one.end:
            raise UserError(
                f"regions overlap, and a bigWig holds one value per base: {one.record} {one.start:,} to "
                f"{one.end:,} and {other.start:,} to {other.end:,}"
            )
    return regions


def _strand(text: str, where: str) -> str:
    if text not in ("+", "-", ".", ""):
        raise UserError(f"{where}: the strand must be +, - or . (got {text!r})")
    return text or "+"


def _given_region(row: Sequence[Any], number: int) -> Region:
    try:
        name, strand = (*("" if cell is None else str(cell) for cell in row[3:5]), "", "")[:2]
        region = Region(str(row[0]), whole_number(row[1]), whole_number(row[2]), name)
    except (LookupError, TypeError, ValueError, OverflowError):
        shown = " ".join(repr(row).split())[:80]
        raise UserError(
            f"region {number}: must be a record, a start and an end, such as ('chr1', 0, 100) (got {shown})"
        ) from None
    if "\0" in name:
        raise UserError(f"region {number}: the control character '\\x00' in its name; remove it")
    return region._replace(strand=_strand(strand, f"region {number}"))


def _sequence(given: str | bytes | Ids, number: int, alphabet: Alphabet) -> Ids:
    need_bases(alphabet)
    if isinstance(given, str | bytes):
        letters = alphabet_letters(given) if isinstance(given, str) else np.frombuffer(given, dtype=np.uint8)
        strange = np.flatnonzero(~NUCLEOTIDE[letters]) if alphabet.name != "bytes" else np.empty(0, dtype=int)
        if strange.size:
            raise UserError(
                f"sequence {number}: {given[strange[0] : strange[0] + 1]!r} at position "
                f"{strange[0] + 1:,} is not a nucleotide code"
            )
        ids = alphabet.encode(given)
    else:
        ids = np.asarray(given)
        if ids.dtype != np.uint8 or ids.ndim != 1:
            raise UserError(
                f"sequence {number}: must be letters, or ids as uint8 [L] (got {ids.dtype} {list(ids.shape)})"
            )
        real = np.flatnonzero(ids != alphabet.pad_id)
        ids = ids[real[0] : real[-1] + 1] if real.size else ids[:0]
    if not ids.size:
        raise UserError(f"sequence {number} is empty")
    return ids
