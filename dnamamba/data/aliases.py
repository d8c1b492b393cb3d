"""A table of other names of a FASTA file's records, which lies next to it: `genome.fa.gz.aliases`.

UCSC's chromAlias.txt is such a table, and so is NCBI's assembly_report.txt: a row per sequence, whose cells
are its names, tab-separated. One of them is the record's in the FASTA; all others then mean that record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dnamamba.data.text_lines import text_lines
from dnamamba.errors import UserError

SUFFIX = ".aliases"
# Of NCBI's report, whose other columns are no names: the role of a sequence, its length.
_NAMES_OF_REPORT = ("Sequence-Name", "GenBank-Accn", "RefSeq-Accn", "UCSC-style-name")
_NO_NAME = ("", "na", "NA")


class Lengths(dict[str, int]):
    """Bases of each record, in the order of the file, and the other names that a table gives them.

    Attributes:
        aliases: the record that each other name means.
    """

    def __init__(self, lengths: Mapping[str, int], aliases: Mapping[str, str]) -> None:
        super().__init__(lengths)
        self.aliases = dict(aliases)


def with_aliases(lengths: Mapping[str, int], fasta: Path) -> Lengths:
    """Return the lengths with the names of the table next to a FASTA file, if there is one.

    Raises:
        UserError: the table can't be read, or a name in it means two records.
    """
    table = fasta.with_name(fasta.name + SUFFIX)
    return Lengths(lengths, read_aliases(table, lengths) if table.is_file() else {})


def read_aliases(path: Path, records: Iterable[str]) -> dict[str, str]:
    """Return the record that each other name of a table means; rows of other sequences are left out.

    Args:
        path: of the table.
        records: names in the FASTA file.

    Raises:
        UserError: the table can't be read, a name means two records, or no row has a record.
    """
    known, found, columns = set(records), dict[str, str](), None
    for number, line in enumerate(text_lines(path), start=1):
        cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
        if line.startswith("#"):
            header = [cell.lstrip("# ") for cell in cells]
            if _NAMES_OF_REPORT[0] in header:
                columns = [header.index(name) for name in _NAMES_OF_REPORT if name in header]
            continue
        if columns is not None:
            cells = [cells[place] for place in columns if place < len(cells)]
        names = dict.fromkeys(cell for cell in cells if cell not in _NO_NAME)
        own = [name for name in names if name in known]
        if len(own) > 1:
            raise UserError(
                f"{path}, row {number}: {own[0]} and {own[1]} are two records of the FASTA; mend it"
            )
        for name in names if own else ():
            if name not in known and found.setdefault(name, own[0]) != own[0]:
                raise UserError(
                    f"{path}, row {number}: {name} means {found[name]} and {own[0]}; mend the table"
                )
    if not found:
        raise UserError(
            f"{path}: no row has the name of a record, such as {next(iter(sorted(known)), 'chr1')}; give "
            "the table of this assembly, with tabs between its names"
        )
    return found
