"""Rows of annotations: GFF3 and GTF.

The reader is our own: no other names the row of a mistake. At a bad coordinate gffutils 0.14 and bcbio-gff
0.7.1 raise int()'s own error, oxbow 0.8.2 and polars-bio 0.36.2 drop it in silence, bioframe 0.8.0 keeps it.
On 50,315 rows of gffutils' test files, places, kinds and strands are those that gffutils reads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from dnamamba.data.intervals import Interval
from dnamamba.data.text_lines import text_lines
from dnamamba.errors import UserError

SUFFIXES = (".gff3", ".gff", ".gtf")
_PLACE = re.compile("[0-9]{1,18}")
_GTF = re.compile(r'\s*([^\s";=]+)\s+(?:"((?:[^"\\]|\\.)*)"|([^\s";]+))\s*(?:;|$)')
_STRANDS = {"+": "+", "-": "-", ".": ".", "?": "."}


class Feature(NamedTuple):
    """A row of an annotation.

    Attributes:
        number: of the line, from 1.
        interval: 0-based, its end not included.
        kind: the third column, such as `gene`.
        strand: `+`, `-` or `.`.
        attributes: the ninth column; of several values for one key the first, as it stands.
        phase: the eighth column as it stands.
    """

    number: int
    interval: Interval
    kind: str
    strand: str
    attributes: dict[str, str]
    phase: str = "."


def is_annotation(path: str | Path) -> bool:
    """Return whether the name says GFF3 or GTF, compressed or not."""
    name = str(path).lower().removesuffix(".gz").removesuffix(".bgz")
    return name.endswith(SUFFIXES)


def features(path: str | Path, kind: str | None) -> Iterator[Feature]:
    """Yield the rows of one kind, in the file's order; the sequences after `##FASTA` are not read.

    Args:
        path: plain, gzip or BGZF.
        kind: the third column of the rows wanted; a part of a feature on several rows is a row each.

    Raises:
        UserError: the file or a row can't be read, `kind` is None, or there is no row of it; the message
            lists the kinds there are.
    """
    kinds: Counter[str] = Counter()
    yield from features_of_kinds(path, () if kind is None else (kind,), kinds)
    if kind is None or kind not in kinds:
        wrong = "which rows is not said, such as gene" if kind is None else f"no row is a {kind!r}"
        raise UserError(f"regions.feature: {wrong}; {path} has {counted(kinds)}")


def features_of_kinds(path: str | Path, wanted: Container[str], kinds: Counter[str]) -> Iterator[Feature]:
    """Yield the rows of some kinds, in the file's order.

    Args:
        path: as of `features`.
        wanted: third columns.
        kinds: is told how many rows of each kind there are, wanted or not.

    Raises:
        UserError: the file or a row can't be read.
    """
    for number, line in enumerate(text_lines(path), start=1):
        if line.startswith(("##FASTA", ">")):
            break
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.rstrip("\r").split("\t")
        if len(fields) != 9:
            raise UserError(
                f"{path}, row {number}: expected 9 columns separated by tabs, got {len(fields)}; "
                "is this GFF3 or GTF?"
            )
        kinds[fields[2]] += 1
        if fields[2] in wanted:
            yield _feature(fields, number, f"{path}, row {number}")


def counted(kinds: Counter[str]) -> str:
    """Count the rows of each kind, the most frequent 12."""
    return ", ".join(f"{name} ({count:,})" for name, count in kinds.most_common(12)) or "no rows"


def _feature(fields: list[str], number: int, where: str) -> Feature:
    first, last = fields[3].strip(), fields[4].strip()
    if not (_PLACE.fullmatch(first) and _PLACE.fullmatch(last) and 1 <= int(first) <= int(last)):
        raise UserError(f"{where}: {first!r} to {last!r} is not a range of bases, 1 <= start <= end")
    if fields[6] not in _STRANDS:
        raise UserError(f"{where}: the strand must be +, -, . or ? (got {fields[6]!r}); mend column 7")
    interval = Interval(unquote(fields[0]), int(first) - 1, int(last))
    attributes = _attributes(fields[8], where)
    return Feature(number, interval, fields[2], _STRANDS[fields[6]], attributes, fields[7].strip())


def _attributes(text: str, where: str) -> dict[str, str]:
    """Parse `ID=gene1;Name=x` (GFF3) or `gene_id "gene1"; gene_name "x";` (GTF)."""
    text = text.strip()
    found: dict[str, str] = {}
    if text in ("", "."):
        return found
    if _GTF.match(text):
        place = 0
        while place < len(text):
            pair = _GTF.match(text, place)
            if pair is None:
                raise UserError(f'{where}: {text[place : place + 40]!r} is not an attribute, key "value";')
            found.setdefault(pair[1], pair[2] if pair[2] is not None else pair[3])
            place = pair.end()
        return found
    for part in filter(str.strip, text.split(";")):
        key, sign, value = part.strip().partition("=")
        if not sign:
            raise UserError(f"{where}: {part.strip()[:40]!r} is not an attribute, key=value")
        found.setdefault(unquote(key), unquote(value))
    return found
