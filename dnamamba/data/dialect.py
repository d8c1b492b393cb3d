"""How a text table is written: its encoding, its delimiter, the case of its header, its decimal sign."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DELIMITERS = (",", ";", "\t")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
_DECIMAL = re.compile(r"[+-]?[0-9]+(,[0-9]+)?([eE][+-]?[0-9]+)?")
_POINTS = re.compile(r"[+-]?(0|[1-9][0-9]{0,2}(\.[0-9]{3})?)")  # 1.379 is a number here, and 1379 in German
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")  # 1,379 may be either


def opened(path: Path) -> TextIO:
    """Open a text file, plain or gzip by its name; UTF-16 with its byte order mark, else UTF-8."""
    raw: Any = (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb")
    try:
        encoding = _MARKS.get(raw.peek(2)[:2], "utf-8-sig")
    except BaseException:
        raw.close()
        raise
    return io.TextIOWrapper(raw, encoding=encoding, newline="")


def delimiter_of(line: str, own: str, required: Sequence[str]) -> str:
    """Return the separator of a header: `own`, unless only another one gives all required columns.

    Where none does, and `own` gives a single column, it is the one that gives most: an error names them.

    Args:
        line: the header.
        own: what the file's name says.
        required: names of columns, of which case does not count.
    """
    number: dict[str, int] = {}
    for delimiter in (own, *(other for other in _DELIMITERS if other != own)):
        try:
            cells = {cell.strip().lower() for row in csv.reader([line], delimiter=delimiter) for cell in row}
        except csv.Error:
            continue
        if {name.lower() for name in required} <= cells:
            return delimiter
        number[delimiter] = len(cells)
    return own if number.get(own, 0) > 1 or not number else max(number, key=number.__getitem__)


def matched(header: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Find the columns that names mean: the same name, else the only one that differs by case alone."""
    found = {}
    columns = list(header)
    for name in names:
        alike = [column for column in columns if column.lower() == name.lower()]
        if name in columns:
            found[name] = name
        elif len(alike) == 1:
            found[name] = alike[0]
    return found


def with_points(cells: Sequence[str], *, sure: bool) -> list[str] | None:
    """Rewrite decimal commas of numbers as points; None if the cells are anything else.

    Args:
        cells: of a column; empty ones stay.
        sure: whether commas are decimal in this file, as where semicolons separate its columns. Elsewhere a
            comma counts as decimal if one of the column can't group thousands.
    """
    numbers = [cell for cell in cells if cell]
    commas = [cell for cell in numbers if "," in cell]
    if not commas or not all(map(_DECIMAL.fullmatch, numbers)):
        return None
    if not sure and all(map(_THOUSANDS.fullmatch, commas)):
        return None
    return [cell.replace(",", ".") for cell in cells]


def may_be_thousands(cells: Iterable[str]) -> str | None:
    """Return a cell whose point may group thousands, as 10.000 in German: every point of the column may.

    >>> may_be_thousands(["950", "10.000"]), may_be_thousands(["0.125", "10.000"])
    ('10.000', None)
    """
    numbers = [cell for cell in cells if cell]
    found = next((cell for cell in numbers if "." in cell), None)
    return found if all(map(_POINTS.fullmatch, numbers)) else None
