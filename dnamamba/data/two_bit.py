"""Genomes in UCSC's .2bit: two bits per base, and lists of the intervals that are N or in lower case.

The reader is our own, on NumPy: it checks every interval against the file before it reads, so that a damaged
file is one line. py2bit 1.0.1 does not notice that a file was cut.

Source: genome.ucsc.edu/FAQ/FAQformat.html#format7, versions 0 and 1 (offsets of 4 and 8 bytes).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError

SIGNATURE = 0x1A412743
PIECE = 1 << 20  # bases
_LOWER = 0x20  # a letter in lower case is that in upper case and this
# The four letters of each byte, the first base in the highest bits.
_LETTERS = np.frombuffer(b"TCAG", dtype=np.uint8)[(np.arange(256)[:, None] >> [6, 4, 2, 0]) & 3]


class _Record(NamedTuple):
    """Where a record's bases lie.

    Attributes:
        length: bases.
        offset: of the packed bases in the file.
        unknown, masked: starts and ends of the intervals of N and of lower case, int64 [n, 2].
    """

    length: int
    offset: int
    unknown: NDArray[np.int64]
    masked: NDArray[np.int64]


def is_two_bit(path: Path) -> bool:
    """Return whether a file begins as a .2bit does, in either order of bytes."""
    with path.open("rb") as file:
        first = file.read(4)
    return first in (SIGNATURE.to_bytes(4, "little"), SIGNATURE.to_bytes(4, "big"))


class TwoBitReader:
    """Reads records as letters, as `RecordReader` does of a FASTA.

    Attributes:
        lengths: bases of each record, in the order of the file.
        is_copy: never: nothing is made of the file.

    Raises:
        UserError: the file can't be read, or is damaged.
    """

    is_copy = False

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._size = os.path.getsize(path)
            with path.open("rb") as file:
                self._order = "<" if file.read(4) == SIGNATURE.to_bytes(4, "little") else ">"
            index, end = self._index()
            self._records = {name: self._record(name, offset) for name, offset in index.items()}
            self._check_whole(index, end)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from None
        self.lengths = {name: record.length for name, record in self._records.items()}

    def letters(self, name: str) -> Iterator[NDArray[np.uint8]]:
        """Yield the letters of a record in pieces of about a megabyte: uint8 `[piece]`."""
        record = self._records[name]
        for start in range(0, record.length, PIECE):
            end = min(start + PIECE, record.length)
            packed = self._read("u1", record.offset + start // 4, -(-(end - start) // 4), f"record {name}")
            found = _LETTERS[packed].reshape(-1)[: end - start]
            for first, last in _within(record.unknown, start, end):
                found[first - start : last - start] = ord("N")
            for first, last in _within(record.masked, start, end):
                found[first - start : last - start] |= _LOWER
            yield found

    def _index(self) -> tuple[dict[str, int], int]:
        """Return the place of each record in the file, in its order, and where the index ends."""
        version, number, reserved = self._read("u4", 4, 3, "the header").tolist()
        if version not in (0, 1) or reserved:
            raise UserError(
                f"{self.path}: version {version} of .2bit is not read; convert it with UCSC's twoBitToFa"
            )
        size, place, found = (4, 8)[version], 16, dict[str, int]()
        for _ in range(number):
            (length,) = self._read("u1", place, 1, "the index").tolist()
            text = self._read("u1", place + 1, length, "the index").tobytes().decode("utf-8", "replace")
            if not text or text in found:
                self._damaged(f"the name {text!r} is empty or there twice")
            (found[text],) = self._read(f"u{size}", place + 1 + length, 1, "the index").tolist()
            place += 1 + length + size
        if not found:
            self._damaged("it has no records")
        return found, place

    def _check_whole(self, index: dict[str, int], end: int) -> None:
        """Check that the records follow the index and each other up to the file's end: it has no checksum.

        Raises:
            UserError: bytes belong to two records or to none, as where the number of records is damaged.
        """
        for name, offset in sorted(index.items(), key=lambda item: item[1]):
            if offset != end:
                self._damaged(f"record {name} is at {offset:,}, expected at {end:,}")
            record = self._records[name]
            end = record.offset + -(-record.length // 4)
        if end != self._size:
            self._damaged(f"{self._size - end:,} byte(s) at its end belong to no record")

    def _record(self, name: str, offset: int) -> _Record:
        where = f"record {name}"
        (length,) = self._read("u4", offset, 1, where).tolist()
        unknown, place = self._blocks(offset + 4, length, where)
        masked, place = self._blocks(place, length, where)
        if self._read("u4", place, 1, where).item():
            self._damaged(f"{where} has a number where the format has 0")
        place += 4
        if place + -(-length // 4) > self._size:
            self._damaged(f"{where} goes past the end of the file")
        return _Record(length, place, unknown, masked)

    def _blocks(self, place: int, length: int, where: str) -> tuple[NDArray[np.int64], int]:
        """Return intervals, as starts and ends, and where the file goes on after them."""
        (number,) = self._read("u4", place, 1, where).tolist()
        starts, sizes = self._read("u4", place + 4, 2 * number, where).astype(np.int64).reshape(2, number)
        found = np.stack([starts, starts + sizes], axis=1)
        if number and (found[:, 1].max() > length or (found[1:, 0] < found[:-1, 1]).any()):
            self._damaged(f"the intervals of N or of lower case of {where} overlap or go past its end")
        return found, place + 4 + 8 * number

    def _read(self, kind: str, place: int, number: int, where: str) -> NDArray[Any]:
        """Read numbers of the file's order of bytes."""
        numbers = np.dtype(f"{self._order}{kind}")
        if place + number * numbers.itemsize > self._size:
            self._damaged(f"{where} goes past the end of the file")
        try:
            found = np.fromfile(self.path, dtype=numbers, count=number, offset=place)
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror or error}") from None
        if found.size < number:
            self._damaged(f"{where} goes past the end of the file")
        return found

    def _damaged(self, what: str) -> NoReturn:
        raise UserError(f"{self.path} is damaged: {what}; use another copy")


def _within(intervals: NDArray[np.int64], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield what of sorted intervals lies between two places."""
    first, last = np.searchsorted(intervals[:, 1], start, "right"), np.searchsorted(intervals[:, 0], end)
    for one, other in intervals[first:last].tolist():
        yield max(one, start), min(other, end)
