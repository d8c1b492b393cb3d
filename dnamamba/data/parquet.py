"""The cells of a Parquet file as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from dnamamba.errors import UserError

MOST_ROWS = LONGEST_CELL = 1 << 26  # a few bytes can stand for more of either


def parquet_columns(
    path: Path, wanted: Callable[[Sequence[str]], Collection[str]]
) -> tuple[list[str], dict[str, list[str]], list[int]]:
    """Read the header, the wanted columns as text, and the numbers of the rows (from 1); nothing else.

    What is missing is empty: null, NaN (which pandas writes for it) and NaT.

    Args:
        path: the file.
        wanted: called with the header, gives the columns wanted of it.

    Raises:
        UserError: pyarrow is not installed; the file is damaged; it has too many rows; a wanted column is
            there twice, holds neither text nor numbers nor dates, what can't be read as such, or too long a
            cell.
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
            asked = wanted(header)
            names = [name for name in header if name in asked]
            number = file.metadata.num_rows
            if number > MOST_ROWS:
                raise UserError(f"{path}: has {number:,} rows, of at most {MOST_ROWS:,}; give it in parts")
            kinds = {name: file.schema_arrow.field(name).type for name in names}
            for name, kind in kinds.items():
                if pyarrow.types.is_nested(kind):
                    raise UserError(f"{path}: column {name!r} holds {kind}; give it as text")
        # A text that a file holds once for many rows is one in memory, too.
        with pyarrow.parquet.ParquetFile(
            path, page_checksum_verification=True, read_dictionary=names
        ) as file:
            for name, kind in kinds.items():
                columns[name] = _column(file, name, f"{path}: column {name!r}", kind)
    except (UserError, MemoryError):
        raise
    except (OSError, ValueError, IndexError, pyarrow.ArrowException) as error:  # of an index into nothing
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged or not a Parquet file ({reason})") from None
    if any(len(column) != number for column in columns.values()):
        raise UserError(f"{path} is damaged or not a Parquet file (columns of different lengths)")
    return header, columns, list(range(1, number + 1))


def _column(file: Any, name: str, where: str, kind: Any) -> list[str]:
    import pyarrow

    cells: list[str] = []
    for group in range(file.num_row_groups):
        for chunk in file.read_row_group(group, columns=[name]).column(0).chunks:
            if pyarrow.types.is_dictionary(chunk.type):
                texts = _texts(chunk.dictionary, where, kind)
                cells += ["" if index is None else texts[index] for index in chunk.indices.to_pylist()]
            else:
                cells += _texts(chunk, where, kind)
    return cells


def _texts(values: Any, where: str, kind: Any) -> list[str]:
    import pyarrow

    try:
        texts = [_cell(value) for value in values.to_pylist()]
    except UnicodeDecodeError:
        raise UserError(f"{where} is not UTF-8 text") from None
    except MemoryError:
        raise
    except (ValueError, OverflowError, OSError, ImportError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{where} of type {kind} can't be read ({reason}); give it as text") from None
    longest = max(map(len, texts), default=0)
    if longest > LONGEST_CELL:
        raise UserError(
            f"{where}: has a cell of {longest:,} characters, of at most {LONGEST_CELL:,}; give such "
            "sequences as FASTA"
        )
    return texts


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
