"""The index of a FASTA file: where each record lies, as `samtools faidx` writes it.

pyfaidx reads records by such an index. Its own indexer (0.9.2) takes a last line that is longer than the
others, which gives wrong bases, refuses two blank lines at the end of a record, and reads a chromosome on one
line in quadratic time from BGZF; so this one is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError

_NEWLINE, _RETURN, _HEADER = ord("\n"), ord("\r"), ord(">")


class IndexedRecord(NamedTuple):
    """A row of a `.fai` file."""

    name: str
    length: int  # bases
    offset: int  # of the first base, in bytes
    line_bases: int
    line_bytes: int  # with the line end


def index_fasta(pieces: Iterable[bytes], source: str) -> list[IndexedRecord]:
    """Index a FASTA text that comes in pieces of any size.

    Line ends may be LF or CRLF; lines may be blank before a record and after it. The lines of a record are of
    one length, but for the last, which may be shorter.

    Raises:
        UserError: naming `source`, the record and the line: no header, a header without a name, a name that
            is not UTF-8 or comes twice, a record without sequence, lines of unequal length, a byte beyond
            ASCII or a carriage return within a line.
    """
    records: dict[str, _Record] = {}
    current: _Record | None = None
    line_number, offset = 1, 0
    for text in whole_lines(pieces):
        lines, is_ascii = _Lines.of(text), text.isascii()
        lines.check_returns(text, source, line_number)
        headers = np.flatnonzero(lines.first_byte == _HEADER)
        bounds = [0, *headers.tolist(), len(lines.start)]
        for begin, end in pairwise(bounds):
            sequence_begin = begin
            if begin < end and lines.first_byte[begin] == _HEADER:
                where = f"{source}, line {line_number + begin}"
                name = _name(text[lines.start[begin] : lines.start[begin] + lines.bases[begin]], where)
                if name in records:
                    raise UserError(f"{where}: a second record named {name!r}; names must differ")
                if current is not None:
                    current.check_complete(source)
                records[name] = current = _Record(name)
                sequence_begin += 1
            part = lines.between(sequence_begin, end)
            if current is None:
                if part.bases.any():
                    where = f"{source}, line {line_number + int(np.flatnonzero(part.bases)[0])}"
                    raise UserError(f"{where}: no header; a FASTA begins with a line that begins with '>'")
                continue
            if not is_ascii:
                part.check_ascii(text, f"{source}, record {current.name}", line_number + sequence_begin)
            current.add(part, offset, source, line_number + sequence_begin)
        line_number += len(lines.start)
        offset += len(text)
    if current is None:
        raise UserError(f"{source}: no records; a FASTA begins with a line that begins with '>'")
    current.check_complete(source)
    return [record.row() for record in records.values()]


def whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in pieces that end where a line ends; the last line gets an end if it has none."""
    held: list[bytes] = []
    for piece in pieces:
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield b"".join([*held, piece[:cut]])
            held = []
        held.append(piece[cut:])
    rest = b"".join(held)
    if rest:
        yield rest + b"\n"


def _name(header: bytes, where: str) -> str:
    try:
        words = header[1:].decode().split(maxsplit=1)
    except UnicodeDecodeError:
        raise UserError(f"{where}: the header is not UTF-8 text") from None
    if not words:
        raise UserError(f"{where}: a header without a name")
    return words[0]


class _Lines(NamedTuple):
    """The lines of a piece of text, by columns."""

    start: NDArray[np.int64]
    bases: NDArray[np.int64]  # bytes without the line end
    size: NDArray[np.int64]  # bytes with the line end
    first_byte: NDArray[np.uint8]

    @classmethod
    def of(cls, text: bytes) -> _Lines:
        letters = np.frombuffer(text, dtype=np.uint8)
        end = np.flatnonzero(letters == _NEWLINE)
        start = np.concatenate(([0], end[:-1] + 1))
        returns = (end > start) & (letters[end - 1] == _RETURN)
        return cls(start, end - start - returns, end - start + 1, letters[start])

    def between(self, begin: int, end: int) -> _Lines:
        rows = slice(begin, end)
        return _Lines(self.start[rows], self.bases[rows], self.size[rows], self.first_byte[rows])

    def check_returns(self, text: bytes, source: str, line_number: int) -> None:
        at_line_ends = self.size - self.bases - 1
        if text.count(b"\r") == int(at_line_ends.sum()):
            return
        for row, (start, bases) in enumerate(zip(self.start.tolist(), self.bases.tolist(), strict=True)):
            if b"\r" in text[start : start + bases]:
                raise UserError(f"{source}, line {line_number + row}: a carriage return (CR) within the line")

    def check_ascii(self, text: bytes, where: str, line_number: int) -> None:
        for row, (start, size) in enumerate(zip(self.start.tolist(), self.size.tolist(), strict=True)):
            if not text[start : start + size].isascii():
                raise UserError(f"{where}: line {line_number + row} is not ASCII text")


@dataclass
class _Record:
    name: str
    length: int = 0
    offset: int = -1
    line_bases: int = 0
    line_bytes: int = 0
    ended: bool = False  # by a line shorter than the others

    def add(self, lines: _Lines, text_offset: int, source: str, line_number: int) -> None:
        skipped = 0
        if self.offset < 0:
            filled = np.flatnonzero(lines.bases)
            if not filled.size:
                return
            skipped = int(filled[0])
            self.offset = text_offset + int(lines.start[skipped])
            self.line_bases, self.line_bytes = int(lines.bases[skipped]), int(lines.size[skipped])
        bases = lines.bases[skipped:]
        if self.ended:
            rest = bases
        else:
            odd = np.flatnonzero((bases != self.line_bases) | (lines.size[skipped:] != self.line_bytes))
            self.ended = bool(odd.size)
            rest = bases[odd[0] + 1 :] if odd.size else bases[:0]
            if odd.size and bases[odd[0]] > self.line_bases:
                rest = bases[odd[0] :]
        if rest.any():
            line_number += skipped + bases.size - rest.size + int(np.flatnonzero(rest)[0])
            raise UserError(
                f"{source}, record {self.name}, line {line_number}: the lines of a record must have one "
                f"length (here {self.line_bases} letters; the last may be shorter) and one kind of line end"
            )
        self.length += int(bases.sum())

    def check_complete(self, source: str) -> None:
        if not self.length:
            raise UserError(f"{source}, record {self.name}: no sequence")

    def row(self) -> IndexedRecord:
        return IndexedRecord(self.name, self.length, self.offset, self.line_bases, self.line_bytes)


def fai_text(records: Iterable[IndexedRecord]) -> str:
    """The `.fai` file of the records."""
    fields: Iterable[tuple[Any, ...]] = records
    return "".join("\t".join(map(str, row)) + "\n" for row in fields)


def fai_lengths(path: Path) -> dict[str, int]:
    """Bases of each record, of a `.fai` file.

    Raises:
        UserError: the file can't be read, or a row is not one of an index; the message names it.
    """
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        return {name: int(length) for name, length, *_ in rows}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path} is no FASTA index; make it again with `samtools faidx`") from None
