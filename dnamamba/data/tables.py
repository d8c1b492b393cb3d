"""Tables with named columns: CSV, TSV (plain or gzip) and Parquet."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from dnamamba.data.parquet import parquet_cells
from dnamamba.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")


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
        header, cells, rows = parquet_cells(path, wanted)
    elif kind in DELIMITERS:
        header, cells, rows = _text(path, DELIMITERS[kind])
    else:
        known = ", ".join((*DELIMITERS, *PARQUET))
        raise UserError(f"{path}: a table is known by its suffix, one of {known}")
    _check_header(header, path)
    place = {
        name: header.index(named.get(name, name)) for name in required if named.get(name, name) in header
    }
    missing = [named.get(name, name) for name in required if name not in place]
    if missing:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; its columns are {', '.join(filter(None, header))}"
        )
    for name in optional:
        if named.get(name, name) in header:
            place[name] = header.index(named.get(name, name))
        elif name in named:
            raise UserError(
                f"{path}: no column {named[name]}; its columns are {', '.join(filter(None, header))}"
            )
    if not cells:
        raise UserError(f"{path}: a header, but no rows")
    columns = {name: [row[index] for row in cells] for name, index in place.items()}
    return Table(columns, rows)


def _text(path: Path, delimiter: str) -> tuple[list[str], list[list[str]], list[int]]:
    # A sequence may be a chromosome; the module's own limit is 131,072 characters.
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with _opened(path) as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            lines = [(reader.line_num, row) for row in _checked(reader, path)]
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} can't be read: {error}") from None
    finally:
        csv.field_size_limit(limit)
    if not lines:
        raise UserError(f"{path} is empty")
    header = [cell.strip() for cell in lines[0][1]]
    # Spreadsheets add empty columns without a name; what has neither a name nor a cell is no column.
    named = max((place + 1 for place, name in enumerate(header) if name), default=0)
    for number, row in lines[1:]:
        if len(row) < named or any(cell.strip() for cell in row[len(header) :]):
            raise UserError(f"{path}, line {number}: {len(row)} column(s), but the header has {len(header)}")
    cells = [[cell.strip() for cell in row[: len(header)]] for _, row in lines[1:]]
    return header, cells, [number for number, _ in lines[1:]]


def _opened(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _checked(reader: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    """The rows that are not blank."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, line {getattr(reader, 'line_num', 0)}: {error}") from None
        if any(cell.strip() for cell in row):
            yield row


def _check_header(header: list[str], path: Path) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} is there twice")
