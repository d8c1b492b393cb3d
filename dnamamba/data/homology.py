"""Which human chromosomes have the genes of a great ape's, in the ways that assemblies name chromosomes.

A name alone says little: chromosome 2 of a chimpanzee is human 2 in one convention (as 2A and 2B) and human 3
in the other. Three conventions are understood:

- `chr12_hap1_hsa2a`: the T2T primates project writes the human chromosome itself;
- `chr2A` and `chr2B` next to `chr1`, `chr3`, ...: UCSC and Ensembl number by the human chromosomes;
- `chr1` ... `chr23`: cytogenetic numbers, of which this module has the tables.

Everything else (unplaced contigs, mitochondria) is left out. Anything that cannot be told is an error: then a
table says it, such as `data_prep.download` writes next to the FASTA.

In the gorilla, human 5 and 17 have exchanged arms (Stankiewicz et al. 2001, Genome Research 11:1205): each of
two of its chromosomes has the genes of two human ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from dnamamba.data.text_lines import text_lines
from dnamamba.errors import UserError
from dnamamba.seals import need_table

Homology = Mapping[str, frozenset[str]]
"""By record: the human chromosomes, `1` to `22`, `X` and `Y`."""

HUMAN = (*map(str, range(1, 23)), "X", "Y")

# Human chromosomes of the ape's own 1, 2, ... 23: Yoo et al. 2025, doi:10.1038/s41586-025-08816-3.
_PAN = "1 3 4 5 6 7 8 10 11 12 9 2 2 13 14 15 18 16 17 19 20 21 22"
_GORILLA = "1 3 4 17+5 6 7 8 10 11 12 2 2 9 13 14 15 18 16 5+17 19 20 21 22"
_ORANGUTAN = "1 3 4 5 6 7 8 10 11 12 2 2 9 13 14 15 18 16 17 19 20 21 22"
_OWN_NUMBERS = {
    name: dict(
        zip(map(str, range(1, 24)), (frozenset(human.split("+")) for human in table.split()), strict=True)
    )
    for names, table in (
        (("chimpanzee", "chimp", "pan_troglodytes", "bonobo", "pan_paniscus"), _PAN),
        (("gorilla", "gorilla_gorilla"), _GORILLA),
        (("orangutan", "orang", "pongo_abelii", "pongo_pygmaeus"), _ORANGUTAN),
    )
    for name in names
}
_HUMAN_NAMES = ("human", "homo_sapiens")
_GORILLA_EXCHANGE = frozenset({"5", "17"})

_WRITTEN = re.compile(r"_hsa(\d{1,2}|[XY])[abAB]?(?:x(\d{1,2}))?$")
_NUMBERED = re.compile(r"(?:chr)?(\d{1,2}|2[AaBb]|[XY])", re.ASCII)


def homology_of(species: str, records: Iterable[str]) -> Homology:
    """Find the human chromosomes of each chromosome in an assembly, by the records' names.

    Args:
        species: what the user calls it; decides what cytogenetic numbers and the gorilla's exchange mean. A
            suffix after another underscore, such as in `human_SIMULATED`, is one's own.
        records: names of its records.

    Raises:
        UserError: the names leave it open.
    """
    records = list(records)
    written = {name: found for name in records if (found := _WRITTEN.search(name))}
    if written:
        return {name: frozenset(filter(None, found.groups())) for name, found in written.items()}
    numbers = {name: found[1].upper() for name in records if (found := _NUMBERED.fullmatch(name))}
    if not numbers:
        raise UserError(
            f"data.species.{species}: none of its {len(records):,} records is named as a chromosome, such as "
            f"chr7 (the first is {records[0]}): give a table, data.homology.{species}, or another data.split"
        )
    if not {"2A", "2B"}.isdisjoint(numbers.values()):
        table = {number: frozenset({number}) for number in HUMAN} | dict.fromkeys(
            ("2A", "2B"), frozenset({"2"})
        )
        if species.lower().startswith("gorilla"):
            table |= dict.fromkeys(_GORILLA_EXCHANGE, _GORILLA_EXCHANGE)
    else:
        table = _own_table(species, frozenset(numbers.values()))
    return {name: table[number] for name, number in numbers.items() if number in table}


def _own_table(species: str, numbers: frozenset[str]) -> dict[str, frozenset[str]]:
    name = species.lower()
    for suffixless in (name, name.rpartition("_")[0]):
        if suffixless in _HUMAN_NAMES:
            return {number: frozenset({number}) for number in HUMAN}
        # Without 23 they may as well be numbered as in human, with chromosome 2 in none of its usual forms.
        if suffixless in _OWN_NUMBERS and "23" in numbers:
            return _OWN_NUMBERS[suffixless] | {sex: frozenset({sex}) for sex in ("X", "Y")}
    raise UserError(
        f"data.species.{species}: its chromosomes are named by numbers, but neither 2A and 2B nor (of an "
        f"ape) 23 says whose numbers they are: give a table, data.homology.{species}"
    )


def read_homology(path: Path) -> Homology:
    """Read a table of homologous human chromosomes: tab-separated, columns `chromosome` and `human`.

    `data_prep.download` writes such a table. Several human chromosomes have commas between them.

    Raises:
        UserError: naming the file, and the row.
    """
    need_table(path)
    lines = list(text_lines(path))
    header = lines[0].split("\t") if lines else []
    if header.count("chromosome") != 1 or header.count("human") != 1:
        raise UserError(
            f"{path}: its first line must name the columns chromosome and human once, with tabs between"
        )
    table: dict[str, frozenset[str]] = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        if not line.strip():
            continue
        if len(fields) != len(header):
            raise UserError(
                f"{path}, line {number}: {len(fields)} columns, but the first line has {len(header)}"
            )
        row = dict(zip(header, fields, strict=True))
        human = frozenset(part.strip().removeprefix("chr") for part in row["human"].split(","))
        if not human <= set(HUMAN):
            raise UserError(
                f"{path}, line {number}: {row['human']!r} is not a human chromosome, 1 to 22, X or Y"
            )
        if not row["chromosome"].strip():
            raise UserError(f"{path}, line {number}: no name of a chromosome")
        if row["chromosome"] in table:
            raise UserError(f"{path}, line {number}: {row['chromosome']} is there twice")
        table[row["chromosome"]] = human
    if not table:
        raise UserError(f"{path}: it has no row")
    return table


def linkage_groups(homologies: Iterable[Homology]) -> dict[str, str]:
    """Group human chromosomes that can't be in different splits: by chromosome, its group's name.

    Two are in one group where a chromosome of any species has both: what is learnt of the one would be known
    of the other. With the gorilla, `5` and `17` are both in `5+17`.
    """
    group = {number: frozenset({number}) for number in HUMAN}
    for homology in homologies:
        for human in homology.values():
            merged = frozenset().union(*(group[number] for number in human))
            group |= dict.fromkeys(merged, merged)
    return {number: "+".join(sorted(members, key=HUMAN.index)) for number, members in group.items()}
