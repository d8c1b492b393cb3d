"""The cells of an Excel workbook (.xlsx) as text."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from dnamamba.data.parquet import check_header
from dnamamba.errors import UserError
from dnamamba.optional import need

LARGEST = 1 << 30
"""Bytes of a workbook's parts, unpacked."""


def sheet_columns(
    path: Path, wanted: Callable[[Sequence[str]], Collection[str]]
) -> tuple[list[str], dict[str, list[str]], list[int], list[str]]:
    """Read the first sheet: header, the wanted columns as text, numbers of the rows, and notes to print.

    A formula counts as the value that Excel saved for it.

    Args:
        path: the workbook.
        wanted: called with the header, gives the columns wanted of it.

    Raises:
        UserError: openpyxl is not installed, the file is damaged, or a row is longer than the header.
    """
    try:
        import openpyxl
    except ImportError:
        raise UserError(
            f"{path}: Excel needs openpyxl: pip install 'dnamamba[excel]', or save it as CSV UTF-8"
        ) from None
    _check_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles that openpyxl does not know
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            filled = list(_filled(book.worksheets[0]))
            names = list(book.sheetnames)
            book.close()
    except Exception as error:  # openpyxl raises many types for a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged or not an Excel workbook ({reason})") from None
    if not filled:
        raise UserError(f"{path} is empty")
    first = filled[0][1]
    header = first[
        : max(place + 1 for place, name in enumerate(first) if name)
    ]  # rows are as wide as the sheet
    check_header(header, path)
    chosen = wanted(header)
    for number, row in filled[1:]:
        if any(row[len(header) :]):
            raise UserError(f"{path}, row {number}: a cell to the right of the header's columns")
    places = {name: place for place, name in enumerate(header) if name in chosen}
    columns = {
        name: [row[place] if place < len(row) else "" for _, row in filled[1:]]
        for name, place in places.items()
    }
    notes = [f"{path}: the first of {len(names)} sheets is read, {names[0]}"] if len(names) > 1 else []
    return header, columns, [number for number, _ in filled[1:]], notes


def sheet_rows(path: Path, first: int) -> list[tuple[Any, ...]]:
    """Return the rows of the first sheet as they are typed, from row `first` (from 1) on.

    Raises:
        UserError: openpyxl is not installed, or the file is damaged.
    """
    need("openpyxl", "excel", str(path))
    import openpyxl

    _check_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            rows = list(book.worksheets[0].iter_rows(min_row=first, values_only=True))
            book.close()
    except Exception as error:  # openpyxl raises many types for a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged or not an Excel workbook ({reason})") from None
    return rows


def _check_size(path: Path) -> None:
    """Refuse a small file that expands to more than a sheet of sequences ever has.

    Raises:
        UserError: naming the size.
    """
    try:
        with zipfile.ZipFile(path) as file:
            size = sum(member.file_size for member in file.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged or not an Excel workbook ({reason})") from None
    if size > LARGEST:
        raise UserError(f"{path}: expands to {size:,} bytes, of at most {LARGEST:,}; save it as CSV UTF-8")


def _filled(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows with a cell, and their numbers.

    Rows are as wide as their last cell: by what the file says of its size, a cell at the end of the sheet
    would fill all 17 billion before it.
    """
    sheet.reset_dimensions()
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells = [_text(value) for value in row]
        if any(cells):
            yield number, cells


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return str(value).strip()
