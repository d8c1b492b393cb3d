"""The cells of a Parquet file as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from dnamamba.errors import UserError


def parquet_columns(
    path: Path, wanted: Callable[[Sequence[str]], Collection[str]]
) -> tuple[list[str], dict[str, list[str]], list[int]]:
    """Read the header, the wanted columns as text, and the numbers of the rows (from 1); nothing else.

    What is missing is empty: null, NaN (which pandas writes for it) and NaT.

    Args:
        path: the file.
        wanted: called with the header, gives the columns wanted of it.

    Raises:
        UserError: pyarrow is not installed; the file is damaged; a wanted column is there twice, holds
            neither text nor numbers nor dates, or what can't be read as such.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f'{path}: Parquet needs pyarrow: pip install "dnamamba[parquet]"') from None
    columns: dict[str, list[str]] = {}
    try:
        # A ParquetFile reads this one file; read_table would take a folder for a data set.
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            header = [str(name) for name in file.schema_arrow.names]
            check_header(header, path)
            names = wanted(header)
            number = file.metadata.num_rows
            for name in header:
                if name not in names:
                    continue
                if pyarrow.types.is_nested(file.schema_arrow.field(name).type):
                    kind = file.schema_arrow.field(name).type
                    raise UserError(f"{path}: column {name!r} holds {kind}; give it as text")
                columns[name] = _texts(file.read(columns=[name]).column(0), f"{path}: column {name!r}")
    except UserError:
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged or not a Parquet file ({reason})") from None
    if any(len(column) != number for column in columns.values()):
        raise UserError(f"{path} is damaged or not a Parquet file (columns of different lengths)")
    return header, columns, list(range(1, number + 1))


def _texts(column: Any, where: str) -> list[str]:
    import pyarrow

    try:
        return [_cell(value) for value in column.to_pylist()]
    except UnicodeDecodeError:
        raise UserError(f"{where} is not UTF-8 text") from None
    except (ValueError, OverflowError, OSError, ImportError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{where} of type {column.type} can't be read ({reason}); give it as text") from None


def check_header(header: Sequence[str], path: Path) -> None:
    """Refuse two columns of one name.

    Raises:
        UserError: naming it.
    """
    names = Counter(filter(None, header))
    if names and names.most_common(1)[0][1] > 1:
        twice = min(name for name, count in names.items() if count > 1)
        raise UserError(f"{path}: column {twice!r} is there twice")


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN and NaT differ from themselves
        return ""
    return (value.decode() if isinstance(value, bytes) else str(value)).strip()
