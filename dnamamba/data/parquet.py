"""The cells of a Parquet file as text."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from dnamamba.errors import UserError


def parquet_cells(path: Path, wanted: Collection[str]) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the rows and their numbers (from 1); cells of columns that nobody wants are empty.

    What is missing is empty: null, NaN (which pandas writes for it) and NaT.

    Raises:
        UserError: pyarrow is not installed; the file is damaged; a wanted column holds neither text nor
            numbers nor dates, or what can't be read as such.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f'{path}: Parquet needs pyarrow: pip install "dnamamba[parquet]"') from None
    try:
        # A ParquetFile reads this one file; read_table would take a folder for a data set.
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        header = [str(name) for name in table.column_names]
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged or no Parquet file ({reason})") from None
    columns = []
    for name, column in zip(header, table.columns, strict=True):
        if name not in wanted:
            columns.append([""] * table.num_rows)
            continue
        if pyarrow.types.is_nested(column.type):
            raise UserError(f"{path}: column {name!r} holds {column.type}; give it as text")
        try:
            columns.append([_cell(value) for value in column.to_pylist()])
        except UnicodeDecodeError:
            raise UserError(f"{path}: column {name!r} is not UTF-8 text") from None
        except (ValueError, OverflowError, OSError, ImportError, pyarrow.ArrowException) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"{path}: column {name!r} of type {column.type} can't be read ({reason}); give it as text"
            ) from None
    cells = [list(row) for row in zip(*columns, strict=True)]
    return header, cells, list(range(1, len(cells) + 1))


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN and NaT differ from themselves
        return ""
    return (value.decode() if isinstance(value, bytes) else str(value)).strip()
