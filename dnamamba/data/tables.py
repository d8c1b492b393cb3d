"""Tables with named columns: CSV, TSV (plain or gzip), Excel and Parquet."""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from dnamamba.data.dialect import NAMES, delimiter_of, matched, may_be_thousands, opened, with_points
from dnamamba.data.parquet import check_header, parquet_columns
from dnamamba.data.spreadsheets import sheet_columns
from dnamamba.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")
EXCEL = (".xlsx", ".xlsm")
NEVER_NUMBERS = ("id", "sequence", "split", "group")
LONGEST_LINE = 1 << 26
"""Characters in a line of CSV and TSV."""


class Table(NamedTuple):
    """Columns of text, each of one value per row; an empty cell is an empty text."""

    columns: dict[str, list[str]]
    rows: list[int]  # the number of each row's line in a text file (from 1), or of the row
    notes: tuple[str, ...] = ()  # lines to say on how it was read, where that is not as its name says


def read_table(
    path: str | Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    named: Mapping[str, str] = {},
    texts: Collection[str] = (),
) -> Table:
    """Return the columns `required`, and those of `optional` that are there.

    Args:
        path: a file whose suffix tells its kind.
        required, optional: what the columns are called here.
        named: what they are called in the file, where it is something else.
        texts: those that stay as written, such as names of classes: their commas are not decimal.

    Raises:
        UserError: the file, the row or the column that can't be read.
    """
    path = Path(os.path.expanduser(path))
    unknown = set(named) - {*required, *optional}
    if unknown:
        known = ", ".join((*required, *optional))
        raise UserError(f"columns.{sorted(unknown)[0]}: no such column is read; those read are {known}")
    kind = next((suffix for suffix in reversed(path.suffixes) if suffix.lower() != ".gz"), "").lower()
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a table")
    required_there = [named.get(name, name) for name in required]
    there = {name: named.get(name, name) for name in (*required, *optional)}
    notes: list[str] = []
    semicolons = False

    def wanted(header: Sequence[str]) -> set[str]:
        """Return the columns of a header that are read, by the names that the header gives them."""
        there.update(
            {name: found for name, own in there.items() if (found := matched(header, [own]).get(own))}
        )
        return set(there.values())

    if kind in PARQUET:
        header, columns, rows = parquet_columns(path, wanted)
    elif kind in EXCEL:
        header, columns, rows, notes = sheet_columns(path, wanted)
    elif kind in DELIMITERS:
        header, columns, rows, notes, semicolons = _text(path, DELIMITERS[kind], required_there, wanted)
    else:
        known = ", ".join((*DELIMITERS, *EXCEL, *PARQUET))
        raise UserError(f"{path}: a table is known by its suffix, one of {known}")
    missing = [
        own for name, own in there.items() if own not in header and (name in required or name in named)
    ]
    if missing:
        shown = ", ".join(filter(None, header))
        raise UserError(f"{path}: no column {', '.join(missing)}; its columns are {shown}")
    if not rows:
        raise UserError(f"{path}: a header, but no rows")
    as_written = {*NEVER_NUMBERS, *texts}
    for own in {own for name, own in there.items() if own in columns and name not in as_written}:
        points = with_points(columns[own], sure=semicolons)
        if points is not None:
            columns[own] = points
            notes.append(f"{path}: the commas of column {own} are decimal commas")
        elif kind in DELIMITERS and (cell := may_be_thousands(columns[own])) is not None:
            notes.append(
                f"{path}: the points of column {own} are decimal points, {cell} is {float(cell):g}; write "
                "thousands without a point"
            )
    other_case = [own for name, own in there.items() if own in columns and own != named.get(name, name)]
    if other_case:
        notes.append(f"{path}: columns read whatever their case: {', '.join(other_case)}")
    found = {name: columns[own] for name, own in there.items() if own in columns}
    return Table(found, rows, tuple(notes))


def _text(
    path: Path, own: str, required: Sequence[str], wanted: Callable[[Sequence[str]], Collection[str]]
) -> tuple[list[str], dict[str, list[str]], list[int], list[str], bool]:
    """Return the header, the wanted columns, each row's line, lines to say, and whether semicolons separate.

    No other cell is kept.
    """
    # A sequence may be a chromosome of a small genome; the module's own limit is 131,072 characters.
    limit = csv.field_size_limit(LONGEST_LINE)
    rows: list[int] = []
    notes: list[str] = []
    try:
        with opened(path) as file:
            text = _bounded(file, path)
            first = list(_until_filled(text))
            delimiter = delimiter_of(first[-1] if first else "", own, required)
            if delimiter != own:
                notes.append(f"{path}: columns are separated by {NAMES[delimiter]}, whatever its name says")
            lines = _checked(csv.reader(chain(first, text), delimiter=delimiter, strict=True), path)
            header = [cell.strip() for cell in next(lines, (0, []))[1]]
            if not header:
                raise UserError(f"{path} is empty")
            check_header(header, path)
            places = {name: header.index(name) for name in wanted(header) if name in header}
            columns: dict[str, list[str]] = {name: [] for name in places}
            # Spreadsheets add empty columns without a name: without a name and a cell there is no column.
            last = max((place + 1 for place, name in enumerate(header) if name), default=0)
            for number, row in lines:
                if len(row) < last or any(cell.strip() for cell in row[len(header) :]):
                    raise UserError(
                        f"{path}, line {number}: {len(row)} column(s), but the header has {len(header)}"
                    )
                for name, place in places.items():
                    columns[name].append(row[place].strip())
                rows.append(number)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as CSV UTF-8") from None
    except UnicodeError:  # UTF-16 that ends within a letter
        raise UserError(f"{path} is truncated") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} can't be read: {error}") from None
    finally:
        csv.field_size_limit(limit)
    return header, columns, rows, notes, delimiter == ";"


def _until_filled(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines up to the first one that is not blank."""
    for line in lines:
        yield line
        if line.strip():
            return


def _bounded(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines of a file, none over `LONGEST_LINE`: a small gzip file may hold gigabytes in one."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{path}, line {number}: more than {LONGEST_LINE:,} characters; give such sequences as FASTA"
            )
        yield line


def _checked(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, and the number of the line where each ends."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}") from None
        if any(cell.strip() for cell in row):
            yield reader.line_num, row
