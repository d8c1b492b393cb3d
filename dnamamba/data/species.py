"""Genomes of several species, cut into loci: what all of them have, and what is held out together.

A classifier of species must not be able to tell one by what only its files have. A locus (a human chromosome
and all that descends with it, a record id, a whole file) is used where every species has it, and left out
where one lacks it; it is in one split for all species (data/species_splits.py); and windows are drawn so that
the locus says nothing about the species (data/species_windows.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dnamamba.data.alphabet import Alphabet, Ids
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval, stretches
from dnamamba.errors import UserError

SPLITS = ("train", "valid", "test")


class Locus(NamedTuple):
    """A part of the genome that every species has.

    Attributes:
        name: of the human chromosomes, the record id or the files.
        weight: how often it is drawn, relative to the others.
        stretches: by species, where windows may lie.
    """

    name: str
    weight: float
    stretches: tuple[tuple[Interval, ...], ...]


class SpeciesGenomes:
    """The records of all species' FASTA files under one roof, each named `species:record`.

    Args:
        files: FASTA files by species.
        alphabet: `dna`, which folds case: soft-masking depends on who made an assembly.
        remove_n: join what lies on the two sides of unknown bases, so that gaps tell nothing.

    Raises:
        UserError: a file that can't be read, or that is given twice.
    """

    def __init__(self, files: Mapping[str, Iterable[Path]], alphabet: Alphabet, *, remove_n: bool) -> None:
        assert alphabet.name == "dna", "an alphabet that keeps case tells species by their soft-masking"
        self.alphabet = alphabet
        self.remove_n = remove_n
        self.records: dict[
            str, dict[Path, dict[str, str]]
        ] = {}  # by species and file: names here, by own names
        self._home: dict[str, tuple[Genome, str]] = {}
        self._joined: dict[str, Ids] = {}
        given: dict[Path, str] = {}
        for species, paths in files.items():
            self.records[species] = {}
            for path in paths:
                genome = Genome(path, alphabet)
                where = genome.path.resolve()
                if where in given:
                    raise UserError(f"{path} is given twice, for {given[where]} and for {species}")
                given[where] = species
                names = {record: self._name(species, path, record) for record in genome.names}
                self.records[species][path] = names
                self._home |= {name: (genome, record) for record, name in names.items()}

    def _name(self, species: str, path: Path, record: str) -> str:
        name = f"{species}:{record}"
        return name if name not in self._home else f"{species}:{path.parent.name}/{path.name}:{record}"

    def fetch(self, name: str, start: int = 0, end: int | None = None) -> Ids:
        """Return the ids of bases `start` to `end` of a record: uint8 `[end - start]`, a view.

        Args:
            name: of the record.
            start: 0-based.
            end: not included; None: the record's end.
        """
        if not self.remove_n:
            genome, record = self._home[name]
            return genome.fetch(record, start, end)
        if name not in self._joined:
            genome, record = self._home[name]
            ids = genome.fetch(record)
            self._joined[name] = ids[self.alphabet.scored[ids]]
        return self._joined[name][start:end]

    def load(self) -> None:
        """Read all records now."""
        for genome in {id(genome): genome for genome, _ in self._home.values()}.values():
            genome.load()

    def length(self, name: str) -> int:
        """Return bases of a record."""
        if self.remove_n:
            return int(self.fetch(name).size)
        genome, record = self._home[name]
        return genome.lengths[record]


@dataclass(frozen=True)
class SpeciesSplits:
    """The loci of each split, and what was left out and why."""

    species: tuple[str, ...]
    loci: Mapping[str, tuple[Locus, ...]]
    notes: tuple[str, ...]


class CleanStretches:
    """Where windows of a length may lie: intervals of a split's loci that are long enough and known.

    Args:
        genomes: the bases.
        splits: their loci.
        max_n: the largest share of N in a window. With 0 no window has one.
    """

    def __init__(self, genomes: SpeciesGenomes, splits: SpeciesSplits, max_n: float) -> None:
        self.genomes = genomes
        self.splits = splits
        self.max_n = max_n
        self._known: dict[tuple[Interval, int], tuple[Interval, ...]] = {}

    def loci(self, split: str, length: int) -> tuple[Locus, ...]:
        """Return the loci where every species has an interval of `length` bases.

        Raises:
            UserError: there is none; the message says which species has too little.
        """
        # A run of N longer than a window may have is in no window: cut it out.
        min_run = int(self.max_n * length) + 1
        found, longest = [], [0] * len(self.splits.species)
        for locus in self.splits.loci[split]:
            clean = []
            for number, intervals in enumerate(locus.stretches):
                parts = [part for interval in intervals for part in self._parts(interval, min_run)]
                longest[number] = max(longest[number], max((part.length for part in parts), default=0))
                clean.append(tuple(part for part in parts if part.length >= length))
            if all(clean):
                found.append(locus._replace(stretches=tuple(clean)))
        if not found:
            raise UserError(self._too_short(split, length, longest))
        return tuple(found)

    def _parts(self, interval: Interval, min_run: int) -> tuple[Interval, ...]:
        key = interval, min_run
        if key not in self._known:
            self._known[key] = tuple(stretches(interval, self.genomes, min_run))
        return self._known[key]

    def _too_short(self, split: str, length: int, longest: Sequence[int]) -> str:
        least, name = min(zip(longest, self.splits.species, strict=True))
        n = "without N" if self.max_n == 0 else f"with at most {self.max_n:.1%} of N"
        cure = "set a smaller data.max_length"
        if not self.genomes.remove_n:
            cure += ", a larger data.max_n, or data.remove_n=true"
        if not self.splits.loci[split]:
            return f"the {split} split has no locus that all {len(longest)} species have"
        if least < length:
            return (
                f"data.species.{name}: no interval of {length:,} bases {n} in its {split} split; the longest "
                f"has {least:,}: {cure}"
            )
        return (
            f"no locus of the {split} split has an interval of {length:,} bases {n} in every species: {cure}"
        )
