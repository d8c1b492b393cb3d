"""Scored variants as a table, a row at a time: TSV, CSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dnamamba.escaping import TsvWriter, cell
from dnamamba.optional import need

SUFFIXES = (".tsv", ".csv", ".parquet")
_NUMBERS = ("llr", "effect", "distance", "contribution", "dependency", *(f"value_{base}" for base in "ACGT"))
_WHOLE = ("POS", "pos", "expected_pos")
_ROWS = 1 << 14  # of a Parquet file, written at once

Add = Callable[[Sequence[bytes]], None]


def check_format(path: Path) -> None:
    """Refuse what can't be written before any work is done.

    Raises:
        UserError: pyarrow is not installed.
    """
    if path.suffix == ".parquet":
        need("pyarrow", "parquet", path.name)


@contextmanager
def table(path: Path, names: Sequence[bytes]) -> Iterator[Add]:
    """Give a function that adds a row of cells to a table; one that is missing is `NA`.

    Args:
        path: whose suffix is one of `SUFFIXES`.
        names: of the columns.

    Raises:
        OSError: it can't be written.
    """
    with {".tsv": _tsv, ".csv": _csv, ".parquet": _parquet}[path.suffix](path, names) as add:
        yield add


@contextmanager
def _tsv(path: Path, names: Sequence[bytes]) -> Iterator[Add]:
    with path.open("wb") as file:

        def add(cells: Sequence[bytes]) -> None:
            file.write(b"\t".join(map(_tsv_cell, cells)) + b"\n")

        add(names)
        yield add


@contextmanager
def _csv(path: Path, names: Sequence[bytes]) -> Iterator[Add]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = TsvWriter(file, ",")

        def add(cells: Sequence[bytes]) -> None:
            writer.writerow(map(_text, cells))

        add(names)
        yield add


@contextmanager
def _parquet(path: Path, names: Sequence[bytes]) -> Iterator[Add]:
    import pyarrow
    import pyarrow.parquet

    header = [_text(name) for name in names]
    kinds = {**dict.fromkeys(_NUMBERS, pyarrow.float64()), **dict.fromkeys(_WHOLE, pyarrow.int64())}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in header])
    waiting: list[Sequence[bytes]] = []
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            columns = [
                [_value(row[place], field.type == pyarrow.string(), field.name) for row in waiting]
                for place, field in enumerate(schema)
            ]
            arrays = [
                pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pyarrow.table(arrays, schema=schema))
            waiting.clear()

        def add(cells: Sequence[bytes]) -> None:
            waiting.append(cells)
            if len(waiting) == _ROWS:
                flush()

        yield add
        flush()


def _value(text: bytes, is_text: bool, name: str) -> str | int | float | None:
    if is_text:
        return _text(text)
    if text == b"NA":
        return None
    return int(text) if name in _WHOLE else float(text)


def _text(column: bytes) -> str:
    return column.decode("utf-8", "backslashreplace")


def _tsv_cell(column: bytes) -> bytes:
    """Escape as `dnamamba.escaping.cell`, but fast: most columns need nothing, and there may be thousands."""
    if column[:1] in b"=@+-" or not (column.isascii() and column.decode().isprintable()):
        return cell(column.decode("utf-8", "surrogateescape")).encode()
    return column
