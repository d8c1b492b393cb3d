"""The index of a FASTA file: where each record lies, as `samtools faidx` writes it.

pyfaidx reads records by such an index. Its own indexer (0.9.2) takes a last line that is longer than the
others, which gives wrong bases, refuses two blank lines at the end of a record, and reads a chromosome on one
line in quadratic time from BGZF; so this one is ours.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnamamba.data.compression import Compression, compression_of
from dnamamba.data.fasta_lines import BLANKS, HEADER, LONG, Lines, LongLine, Text, chunks
from dnamamba.errors import UserError


class IndexedRecord(NamedTuple):
    """A row of a `.fai` file."""

    name: str
    length: int  # bases
    offset: int  # of the first base, in bytes
    line_bases: int
    line_bytes: int  # with the line end


class UnevenError(UserError):
    """A FASTA that can be read, but whose bases can't be found by an index of line lengths."""


def index_fasta(pieces: Iterable[bytes], source: str) -> list[IndexedRecord]:
    """Index a FASTA text that comes in pieces of any size.

    Line ends may be LF, CRLF or CR; lines may be blank before a record and after it; a byte order mark may
    come first. The lines of a record are of one length, but for the last, which may be shorter.

    Raises:
        UnevenError: lines of unequal length or with white space; `even_text` makes a text to index of it.
        UserError: naming `source`, the record and the line: no header, a header without a name, a name that
            is not UTF-8 or comes twice, a record without sequence, a byte beyond ASCII, a control character
            between letters, a line that begins with `;`, or line ends of CR and LF.
    """
    return index_with_checksums(pieces, source)[0]


def index_with_checksums(pieces: Iterable[bytes], source: str) -> tuple[list[IndexedRecord], list[int]]:
    """Return the index of `index_fasta`, and the CRC-32 of the letters of each record; raises alike."""
    records: dict[str, _Record] = {}
    current: _Record | None = None
    long: LongLine | None = None
    line_number = 1
    offset, pieces = Text.of(pieces, source)
    for text, whole in chunks(pieces):
        if not whole:
            if long is None:
                where = f"{source}," if current is None else f"{source}, record {current.name}:"
                long = LongLine(text, f"{where} line {line_number}")
            if current is None:
                raise UserError(f"{source}, line {line_number}: {_NO_HEADER}")
            current.checksum = zlib.crc32(long.add(text), current.checksum)
            offset += len(text)
            if text.endswith(b"\n"):
                lines = long.lines()
                current.add(lines, offset - int(lines.size[0]), line_number)
                line_number, long = line_number + 1, None
            continue
        lines, is_ascii = Lines.of(text, source, line_number), text.isascii()
        headers = np.flatnonzero(lines.first_byte == HEADER)
        bounds = [0, *headers.tolist(), len(lines.start)]
        for begin, end in pairwise(bounds):
            sequence_begin = begin
            if begin < end and lines.first_byte[begin] == HEADER:
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
                    raise UserError(f"{where}: {_NO_HEADER}")
                continue
            if not is_ascii:
                part.check_ascii(text, f"{source}, record {current.name}", line_number + sequence_begin)
            if part.start.size:
                letters = text[part.start[0] : part.start[-1] + part.size[-1]].translate(None, BLANKS)
                current.checksum = zlib.crc32(letters, current.checksum)
            current.add(part, offset, line_number + sequence_begin)
        line_number += len(lines.start)
        offset += len(text)
    if current is None:
        raise UserError(f"{source}: no records; a FASTA begins with a line that begins with '>'")
    current.check_complete(source)
    for record in records.values():
        record.check_even(source)
    return [record.row() for record in records.values()], [record.checksum for record in records.values()]


_HEADERS = (1 << 8, 1 << 12, LONG)  # bytes above a record in which its header is looked for
_CHECKED = 1000  # records of somebody's index that are looked for in the FASTA
_NO_HEADER = "no header; a FASTA begins with a line that begins with '>'"


def whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same text in pieces that end where a line ends; the last line gets an end if it has none."""
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
    if "\0" in words[0]:  # which ends a text in HDF5 and NumPy
        raise UserError(f"{where}: the control character '\\x00' in a name; remove it")
    return words[0]


@dataclass
class _Record:
    name: str
    length: int = 0
    checksum: int = 0
    offset: int = -1
    line_bases: int = 0
    line_bytes: int = 0
    ended: bool = False  # by a line shorter than the others
    uneven: int = 0  # the first line that an index can't tell the place of

    def add(self, lines: Lines, text_offset: int, line_number: int) -> None:
        self.length += int(lines.bases.sum())
        if self.uneven:
            return
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
        spaced = np.flatnonzero(lines.spaced[skipped:] & (bases > 0))
        found = [bases.size - rest.size + int(np.flatnonzero(rest)[0])] if rest.any() else []
        if spaced.size or found:
            self.uneven = line_number + skipped + min([*spaced[:1].tolist(), *found])

    def check_even(self, source: str) -> None:
        if self.uneven:
            raise UnevenError(
                f"{source}, record {self.name}, line {self.uneven}: the lines of a record must have one "
                f"length (here {self.line_bases} letters; the last may be shorter), one kind of line end and "
                "no white space"
            )

    def check_complete(self, source: str) -> None:
        if not self.length:
            raise UserError(f"{source}, record {self.name}: no sequence")

    def row(self) -> IndexedRecord:
        return IndexedRecord(self.name, self.length, self.offset, self.line_bases, self.line_bytes)


def fai_text(records: Iterable[IndexedRecord]) -> str:
    """Return the `.fai` file of the records."""
    fields: Iterable[tuple[Any, ...]] = records
    return "".join("\t".join(map(str, row)) + "\n" for row in fields)


def fai_lengths(path: Path) -> dict[str, int]:
    """Return the bases of each record, from a `.fai` file of another program.

    Raises:
        UserError: the file can't be read, a row is not one of an index, or the plain FASTA next to it has no
            such record there; the message names the file and the line.
    """
    rows: dict[str, IndexedRecord] = {}
    try:
        text = path.read_text(encoding="utf-8")
        fasta = _plain_fasta(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text, fasta = "\0", None
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        name, *fields = line.rstrip("\r").split("\t")
        numbers = [int(field) for field in fields if field.isdecimal() and len(field) <= 18]
        is_row = name and name not in rows and len(fields) == len(numbers) == 4
        if not is_row or not numbers[0] or not 0 < numbers[2] < numbers[3]:
            raise UserError(
                f"{path} is not a FASTA index (line {number}); make it again with `samtools faidx`"
            )
        rows[name] = IndexedRecord(name, *numbers)
    checked = list(rows.values()) if fasta is not None else []
    for row in [*checked[:: len(checked) // _CHECKED + 1], *checked[-1:]]:
        assert fasta is not None
        if not _is_at(fasta, row):
            raise UserError(
                f"{path} does not fit {fasta}: record {row.name} is not where it says; make it again with "
                "`samtools faidx`"
            )
    return {name: row.length for name, row in rows.items()}


def _plain_fasta(fai: Path) -> Path | None:
    fasta = fai.with_name(fai.name.removesuffix(".fai"))
    return fasta if fasta.is_file() and compression_of(fasta) is Compression.PLAIN else None


def _is_at(fasta: Path, row: IndexedRecord) -> bool:
    """Return whether the line before a record's first base is its header, and its last base ends a line."""
    lines = (row.length - 1) // row.line_bases
    end = row.offset + row.length + lines * (row.line_bytes - row.line_bases)
    with fasta.open("rb") as file:

        def read(start: int, size: int) -> bytes:
            file.seek(start)
            return file.read(size)

        names_it = name_before(read, row.offset) == row.name
        last = read(end - 1, 2)
    return names_it and len(last.strip()) == 1 and not last[1:].strip()


def name_before(read: Callable[[int, int], bytes], offset: int) -> str | None:
    """Return the name in the header above a record's first base; None where sequence is between.

    Args:
        read: gives bytes of the text, by where they begin and how many.
        offset: of the base.
    """
    for size in _HEADERS:
        begin = max(offset - size, 0)
        before = read(begin, offset - begin).rstrip(BLANKS)
        if b"\n" not in before:
            before = before.replace(b"\r", b"\n")  # lines may end as they did on a Mac of old
        if not begin:
            before = b"\n" + before.removeprefix(b"\xef\xbb\xbf")
        _, found, header = before.rpartition(b"\n>")
        if found:
            line, *others = header.split(b"\n")
            words = line.decode("utf-8", "replace").split(maxsplit=1)
            between = [other for other in others if other.strip(BLANKS) and not other.startswith(b";")]
            return words[0] if words and not between else None
        if not begin:
            return None
    return None
