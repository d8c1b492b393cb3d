"""Three ways to hold out loci of several species: by human chromosome, by record id, by file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dnamamba.data.homology import Homology, homology_of, linkage_groups, read_homology
from dnamamba.data.intervals import Interval
from dnamamba.data.species import SPLITS, Locus, SpeciesGenomes, SpeciesSplits
from dnamamba.errors import UserError


def split_by_chromosome(
    genomes: SpeciesGenomes,
    *,
    tables: Mapping[str, Path],
    valid: Iterable[str],
    test: Iterable[str],
    by_bases: bool,
) -> SpeciesSplits:
    """Hold out whole chromosomes, with all that are homologous to the same human ones.

    Args:
        genomes: what to split.
        tables: homologies by species, for those whose record names don't tell; see `data.homology`.
        valid, test: human chromosomes. One that is linked to them in some species (5 and 17 in the gorilla)
            goes with them, in all species.
        by_bases: draw a chromosome as often as it has bases, instead of all equally often.

    Raises:
        UserError: a homology that is unknown, a held-out chromosome that a species lacks or that is linked to
            one of the other split.
    """
    homologies = {
        species: _homologies(species, files, tables.get(species))
        for species, files in genomes.records.items()
    }
    group_of = linkage_groups(homologies.values())
    members: dict[str, dict[str, list[str]]] = {}
    notes = []
    for species, homology in homologies.items():
        records = [name for names in genomes.records[species].values() for name in names.values()]
        placed = [name for name in records if name in homology]
        if len(placed) < len(records):
            bases = sum(genomes.length(name) for name in records) - sum(map(genomes.length, placed))
            notes.append(
                f"{species}: {len(records) - len(placed):,} records of {bases:,} bases are on no chromosome"
            )
        for name in placed:
            group = group_of[min(homology[name])]
            members.setdefault(group, {}).setdefault(species, []).append(name)
    wanted = {"valid": _groups(valid, group_of, "data.valid"), "test": _groups(test, group_of, "data.test")}
    both = wanted["valid"].keys() & wanted["test"].keys()
    if both:
        raise UserError(f"data.valid and data.test both hold out human chromosome {', '.join(sorted(both))}")
    for split, groups in wanted.items():
        for group, asked in groups.items():
            for species in genomes.records:
                if species not in members.get(group, {}):
                    raise UserError(
                        f"data.{split}: {species} has no chromosome homologous to human {'+'.join(asked)}"
                    )
            extra = sorted(set(group.split("+")) - set(asked))
            if extra:
                notes.append(
                    f"human {', '.join(extra)} is held out for {split} with {', '.join(asked)}: "
                    "a species has exchanged arms between them"
                )
    split_of = {group: split for split, groups in wanted.items() for group in groups}
    return _splits(
        genomes,
        members,
        lambda group: split_of.get(group, "train"),
        lambda group: float(len(group.split("+"))),
        what="human chromosome",
        by_bases=by_bases,
        notes=notes,
    )


def _homologies(species: str, files: Mapping[Path, Mapping[str, str]], table: Path | None) -> Homology:
    """Return homologies by record: from a table, the one next to the FASTA, or by the record's name."""
    found: dict[str, frozenset[str]] = {}
    for path, names in files.items():
        beside = path.with_name(f"{path.name.partition('.')[0]}.chromosomes.tsv")
        if table is not None or beside.is_file():
            homology = read_homology(table or beside)
        else:
            homology = homology_of(species, names)
        found |= {names[record]: human for record, human in homology.items() if record in names}
    if not found:
        raise UserError(f"data.homology.{species}: {table} names none of its records")
    return found


def _groups(chromosomes: Iterable[str], group_of: Mapping[str, str], key: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for chromosome in chromosomes:
        number = str(chromosome).removeprefix("chr")
        if number not in group_of:
            raise UserError(f"{key}: {chromosome} is not a human chromosome, 1 to 22, X or Y")
        groups.setdefault(group_of[number], []).append(number)
    return groups


def split_by_record(
    genomes: SpeciesGenomes,
    *,
    pattern: str,
    valid: Sequence[str] | None,
    test: Sequence[str] | None,
    shares: tuple[float, float],
    by_bases: bool,
) -> SpeciesSplits:
    """Hold out whole loci: records of the same id are one locus.

    Args:
        genomes: what to split.
        pattern: a regular expression whose group is the id in a record's name; records that it does not match
            are left out.
        valid, test: ids to hold out. With neither, a hash of the id decides, so that it is the same for every
            set of species and files.
        shares: of the ids that the hash sends to validation and to test.
        by_bases: draw a locus as often as it has bases, instead of all equally often.

    Raises:
        UserError: no id, one that is there twice, or one to hold out that is not there.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.record_id: {pattern!r} is not a regular expression: {error}") from None
    if compiled.groups != 1:
        raise UserError(f"data.record_id: must have one group, the id (got {pattern!r})")
    members: dict[str, dict[str, list[str]]] = {}
    notes = []
    for species, files in genomes.records.items():
        records = [pair for names in files.values() for pair in names.items()]
        matched = [(found[1], name) for record, name in records if (found := compiled.search(record))]
        if not matched:
            raise UserError(
                f"data.record_id: {pattern!r} matches no record of {species}, such as {records[0][0]}"
            )
        if len(matched) < len(records):
            notes.append(f"{species}: {len(records) - len(matched):,} records have no id")
        for identity, name in matched:
            if species in members.setdefault(identity, {}):
                raise UserError(f"data.species.{species}: two records have the id {identity}")
            members[identity][species] = [name]
    if valid is None and test is None:

        def split_of(identity: str) -> str:
            return hashed_split(identity, *shares)
    else:
        named = {"valid": set(valid or ()), "test": set(test or ())}
        for split, ids in named.items():
            for identity in sorted(ids):
                if identity not in members:
                    raise UserError(f"data.{split}: no record has the id {identity!r}")
        if both := named["valid"] & named["test"]:
            raise UserError(f"data.valid and data.test both name {', '.join(sorted(both))}")

        def split_of(identity: str) -> str:
            return next((split for split, ids in named.items() if identity in ids), "train")

    return _splits(
        genomes, members, split_of, lambda identity: 1.0, what="locus", by_bases=by_bases, notes=notes
    )


def hashed_split(identity: str, valid_share: float, test_share: float) -> str:
    """Return the split of an id, by its hash alone.

    Args:
        identity: the id.
        valid_share, test_share: of all ids.
    """
    place = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "valid" if place < test_share + valid_share else "train"


def split_by_file(
    genomes: SpeciesGenomes,
    held_out: Mapping[str, Mapping[str, Iterable[Path]]],
    *,
    valid_share: float,
) -> SpeciesSplits:
    """Hold out files: a split's files are one locus, drawn from by the base.

    Args:
        genomes: of all files.
        held_out: files by split and species; all others train. With no files for validation, the last
            `valid_share` of every training record is.
        valid_share: see above.

    Raises:
        UserError: a species has no file in a split.
    """
    loci: dict[str, tuple[Locus, ...]] = {}
    species = tuple(genomes.records)
    files = {split: {name: set(paths) for name, paths in of.items()} for split, of in held_out.items()}
    for split in SPLITS:
        cut = split != "test" and not files.get("valid")
        by_species = []
        for name in species:
            if files.get(split):
                chosen = files[split].get(name, set())
            elif split == "test":
                raise UserError(
                    "data.split=file needs data.test_species, a FASTA of other loci for each species"
                )
            else:
                out = set().union(*(of.get(name, set()) for of in files.values()))
                chosen = {path for path in genomes.records[name] if path not in out}
            if not chosen:
                raise UserError(f"data.{split}_species: no FASTA file of {name}")
            records = [
                record
                for path in genomes.records[name]
                if path in chosen
                for record in genomes.records[name][path].values()
            ]
            by_species.append(
                tuple(_cut(genomes, record, split, valid_share if cut else 0.0) for record in records)
            )
        loci[split] = (Locus(f"{split} files", 1.0, tuple(by_species)),)
    return SpeciesSplits(species, loci, ())


def _cut(genomes: SpeciesGenomes, record: str, split: str, valid_share: float) -> Interval:
    length = genomes.length(record)
    place = round((1 - valid_share) * length)
    return Interval(record, place, length) if split == "valid" and valid_share else Interval(record, 0, place)


def _splits(
    genomes: SpeciesGenomes,
    members: Mapping[str, Mapping[str, Sequence[str]]],
    split_of: Callable[[str], str],
    weight_of: Callable[[str], float],
    *,
    what: str,
    by_bases: bool,
    notes: list[str],
) -> SpeciesSplits:
    species = tuple(genomes.records)
    loci: dict[str, list[Locus]] = {split: [] for split in SPLITS}
    only: dict[tuple[str, ...], list[str]] = {}
    for name, by_species in members.items():
        if len(by_species) < len(species):
            only.setdefault(tuple(s for s in species if s in by_species), []).append(name)
            continue
        records = tuple(tuple(by_species[s]) for s in species)
        whole = tuple(tuple(Interval(r, 0, genomes.length(r)) for r in of) for of in records)
        # The mean, so that a locus is as likely in one species as in another.
        bases = float(np.mean([sum(interval.length for interval in of) for of in whole]))
        loci[split_of(name)].append(Locus(name, bases if by_bases else weight_of(name), whole))
    for those, names in only.items():
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        notes.append(f"left out, because only {', '.join(those)} {_has(those)} it: {what} {shown}")
    return SpeciesSplits(species, {split: tuple(of) for split, of in loci.items()}, tuple(notes))


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"
