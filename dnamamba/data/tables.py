"""Tables with named columns: CSV, TSV (plain or gzip) and Parquet."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from dnamamba.data.parquet import check_header, parquet_columns
from dnamamba.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")
LONGEST_LINE = 1 << 26
"""Characters of a line of CSV and TSV."""


class Table(NamedTuple):
    """Columns of text, each of one value a row; an empty cell is an empty text."""

    columns: dict[str, list[str]]
    rows: list[int]  # the number of each row's line in a text file (from 1), or of the row


def read_table(
    path: str | Path, required: Sequence[str], optional: Sequence[str] = (), named: Mapping[str, str] = {}
) -> Table:
    """The columns `required`, and those of `optional` that are there.

    Args:
        path: a file whose suffix tells its kind.
        required, optional: what the columns are called here.
        named: what they are called in the file, where it is something else.

    Raises:
        UserError: the file, the row or the column that can't be read.
    """
    path = Path(os.path.expanduser(path))
    unknown = set(named) - {*required, *optional}
    if unknown:
        known = ", ".join((*required, *optional))
        raise UserError(f"data.columns: no column {sorted(unknown)[0]!r} is read; those read are {known}")
    kind = next((suffix for suffix in reversed(path.suffixes) if suffix.lower() != ".gz"), "").lower()
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a table")
    wanted = {named.get(name, name) for name in (*required, *optional)}
    if kind in PARQUET:
        header, columns, rows = parquet_columns(path, wanted)
    elif kind in DELIMITERS:
        header, columns, rows = _text(path, DELIMITERS[kind], wanted)
    else:
        known = ", ".join((*DELIMITERS, *PARQUET))
        raise UserError(f"{path}: a table is known by its suffix, one of {known}")
    missing = [
        named.get(name, name)
        for name in (*required, *optional)
        if named.get(name, name) not in header and (name in required or name in named)
    ]
    if missing:
        shown = ", ".join(filter(None, header))
        raise UserError(f"{path}: no column {', '.join(missing)}; its columns are {shown}")
    if not rows:
        raise UserError(f"{path}: a header, but no rows")
    there = {name: named.get(name, name) for name in (*required, *optional)}
    return Table({name: columns[own] for name, own in there.items() if own in columns}, rows)


def _text(
    path: Path, delimiter: str, wanted: Collection[str]
) -> tuple[list[str], dict[str, list[str]], list[int]]:
    """The header, the wanted columns and the number of each row's line; other columns are not kept."""
    # A sequence may be a chromosome of a small genome; the module's own limit is 131,072 characters.
    limit = csv.field_size_limit(LONGEST_LINE)
    rows: list[int] = []
    try:
        with _opened(path) as file:
            lines = _checked(csv.reader(_bounded(file, path), delimiter=delimiter, strict=True), path)
            header = [cell.strip() for cell in next(lines, (0, []))[1]]
            if not header:
                raise UserError(f"{path} is empty")
            check_header(header, path)
            places = {name: place for place, name in enumerate(header) if name in wanted}
            columns: dict[str, list[str]] = {name: [] for name in places}
            # Spreadsheets add empty columns without a name; what has neither a name nor a cell is no column.
            named = max((place + 1 for place, name in enumerate(header) if name), default=0)
            for number, row in lines:
                if len(row) < named or any(cell.strip() for cell in row[len(header) :]):
                    raise UserError(
                        f"{path}, line {number}: {len(row)} column(s), but the header has {len(header)}"
                    )
                for name, place in places.items():
                    columns[name].append(row[place].strip())
                rows.append(number)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} can't be read: {error}") from None
    finally:
        csv.field_size_limit(limit)
    return header, columns, rows


def _opened(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _bounded(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file, none longer than `LONGEST_LINE`: a small gzip file may hold one of gigabytes."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{path}, line {number}: more than {LONGEST_LINE:,} characters; give such sequences as FASTA"
            )
        yield line


def _checked(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, and the number of the line where each ends."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}") from None
        if any(cell.strip() for cell in row):
            yield reader.line_num, row
