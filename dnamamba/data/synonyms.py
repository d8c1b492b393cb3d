"""Chromosome names of UCSC, Ensembl and NCBI: which of a FASTA file's records another file means.

A name is looked up as it is, then by what it stands for: `chr1`, `Chr1`, `chr01`, `1` and `NC_000001.11` are
all chromosome 1; `chrM`, `MT`, `Mt` and `Mito` the mitochondrion; `ChrC` and `Pt` the plastid. Roman numbers
match Roman ones only, since X is a chromosome of its own in most genomes. What two records of the FASTA could
be is matched with neither. A table of the user's own (`dnamamba.data.aliases`) is asked before all that.

Source: NCBI RefSeq assembly reports of GRCh38, GRCh37, TAIR10 and S288C (R64).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dnamamba.data.aliases import Lengths
from dnamamba.data.intervals import ROMAN

MITOCHONDRION, PLASTID = "mt", "pt"
_ORGANELLES = {
    **dict.fromkeys(("m", "mt", "mito", "mitochondrion"), MITOCHONDRION),
    **dict.fromkeys(("c", "pt", "pltd", "chloroplast"), PLASTID),
}
# The versions of accessions NC_000001 to NC_000024, which are chromosomes 1 to 22, X and Y.
_GRCH38 = (11, 12, 12, 12, 10, 12, 14, 11, 12, 11, 10, 12, 11, 9, 10, 10, 11, 10, 10, 11, 9, 11, 11, 10)
_GRCH37 = (10, 11, 11, 11, 9, 11, 13, 10, 11, 10, 9, 11, 10, 8, 9, 9, 10, 9, 9, 10, 8, 10, 10, 9)
_TAIR10 = ("NC_003070.9", "NC_003071.7", "NC_003074.8", "NC_003075.7", "NC_003076.8")
# The versions of accessions NC_001133 to NC_001148, which are chromosomes I to XVI.
_R64 = (9, 8, 5, 10, 3, 5, 9, 6, 2, 9, 9, 5, 3, 8, 6, 4)
_ROMAN = (
    "i",
    "ii",
    "iii",
    "iv",
    "v",
    "vi",
    "vii",
    "viii",
    "ix",
    "x",
    "xi",
    "xii",
    "xiii",
    "xiv",
    "xv",
    "xvi",
)


def _human(versions: Iterable[int]) -> dict[str, str]:
    names = [*map(str, range(1, 23)), "x", "y"]
    return {
        f"nc_{number:06}.{version}": name
        for number, (name, version) in enumerate(zip(names, versions, strict=True), start=1)
    }


ACCESSIONS: dict[str, str] = {
    **_human(_GRCH38),
    **_human(_GRCH37),
    **{accession.lower(): str(number) for number, accession in enumerate(_TAIR10, start=1)},
    **{
        f"nc_{1133 + place:06}.{version}": roman
        for place, (roman, version) in enumerate(zip(ROMAN, _R64, strict=True))
    },
    **dict.fromkeys(("nc_012920.1", "nc_037304.1", "nc_001284.2", "nc_001224.1"), MITOCHONDRION),
    "nc_000932.1": PLASTID,
}
"""What a RefSeq accession, in lower case, stands for."""


def meaning(name: str) -> str:
    """Return the chromosome that a record's name means, the same for all synonyms.

    >>> meaning("chr01"), meaning("NC_000001.11"), meaning("chrM"), meaning("scaffold_7")
    ('1', '1', 'mt', 'scaffold_7')
    """
    text = name.lower()
    text = ACCESSIONS.get(text, text)
    rest = re.sub("^chr(?:omosome)?_?(?=.)", "", text)
    if rest.isdigit():
        return rest.lstrip("0") or "0"
    return _ORGANELLES.get(rest, rest)


class Synonyms:
    """Finds the record that a name means.

    Args:
        records: names of a FASTA file's; of `Lengths`, with the names of its table.

    Attributes:
        used: names that were matched with a record of another name, and that.
    """

    def __init__(self, records: Iterable[str]) -> None:
        self._aliases = records.aliases if isinstance(records, Lengths) else {}
        self._records = set(records)
        self._by_meaning: dict[str, str | None] = {}
        for record in self._records:
            key = meaning(record)
            self._by_meaning[key] = None if key in self._by_meaning else record
        self.used: dict[str, str] = {}

    def find(self, name: str) -> str | None:
        """Return the record of this name or of a synonym; None where there is none, or more than one."""
        if name in self._records:
            return name
        found = self._aliases.get(name) or self._by_meaning.get(meaning(name))
        if found is not None:
            self.used[name] = found
        return found

    def records_of(self, names: Iterable[str]) -> list[str]:
        """Return the records that names mean; a name that means none stays, for a message."""
        return [self.find(name) or name for name in names]

    def said(self) -> list[str]:
        """Describe the names matched so far in a line; nothing if all were the FASTA's own."""
        if not self.used:
            return []
        pairs = [f"{name} is {record}" for name, record in list(self.used.items())[:3]]
        more = f", and {len(self.used) - 3:,} more" if len(self.used) > 3 else ""
        return [f"chromosome names matched by synonyms: {', '.join(pairs)}{more}"]
