"""FASTA text in lines, by columns, whatever its line ends, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError

NEWLINE, RETURN, HEADER, COMMENT, SPACE = b"\n\r>; "
LONG = 1 << 20  # bytes; a longer line comes in parts
# White space, and what editors and tapes leave at the end of lines: read as nothing.
BLANKS = bytes(range(SPACE + 1))
_CONTROL = re.compile(rb"[\x00-\x1f]")
_LINE_END = re.compile(rb"\n|\r+(?=[^\r])")
_MARK = b"\xef\xbb\xbf"  # of UTF-8, which Windows editors write
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Text(NamedTuple):
    """A text without byte order mark, with LF for line ends that are CR alone: a byte for a byte.

    Attributes:
        offset: of its first byte, in bytes of the file.
        pieces: of any size.
    """

    offset: int
    pieces: Iterator[bytes]

    @classmethod
    def of(cls, pieces: Iterable[bytes], source: str) -> Text:
        """Read the first line to see how lines end.

        Raises:
            UserError: the text is UTF-16; while reading: line ends are CR in one place and LF in another.
        """
        rest = iter(pieces)
        begin = b""
        while len(begin) <= LONG and not _LINE_END.search(begin):
            piece = next(rest, None)
            if piece is None:
                break
            begin += piece
        if begin.startswith(_OTHER_MARKS):
            raise UserError(f"{source}: UTF-16 text; save it as UTF-8")
        marked = begin.startswith(_MARK)
        begin = begin[len(_MARK) :] if marked else begin
        text = chain([begin], rest)
        end = _LINE_END.search(begin)
        if (end and begin[end.end() : end.end() + 1] == b"\n") or b"\r" not in begin[: end and end.end()]:
            return cls(len(_MARK) * marked, text)
        return cls(len(_MARK) * marked, _from_returns(text, source))


def _from_returns(pieces: Iterable[bytes], source: str) -> Iterator[bytes]:
    number = 1
    for piece in pieces:
        if b"\n" in piece:
            number += piece[: piece.index(b"\n")].count(b"\r")
            raise UserError(
                f"{source}, line {number}: a line ends with LF, but those before it with a carriage return "
                "(CR); give it one kind of line end"
            )
        number += piece.count(b"\r")
        yield piece.replace(b"\r", b"\n")


def chunks(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the same text as (whole lines, True), or (part of a line longer than `LONG`, False).

    The last line gets an end if it has none.
    """
    held: list[bytes] = []
    size, inside = 0, False
    for piece in pieces:
        rest = piece
        if inside:
            cut = piece.find(b"\n") + 1
            yield piece[: cut or len(piece)], False
            if not cut:
                continue
            inside, rest = False, piece[cut:]
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield b"".join([*held, rest[:cut]]), True
            held, size = [], 0
        held.append(rest[cut:])
        size += len(held[-1])
        if size > LONG:
            yield b"".join(held), False
            held, size, inside = [], 0, True
    if inside:
        yield b"\n", False
    elif size:
        yield b"".join(held) + b"\n", True


class Lines(NamedTuple):
    """Some lines, by columns."""

    start: NDArray[np.int64]
    bases: NDArray[np.int64]  # letters; of a header, bytes without the line end
    size: NDArray[np.int64]  # bytes with the line end
    first_byte: NDArray[np.uint8]
    spaced: NDArray[np.bool_]  # whether there is white space among the letters or after them

    @classmethod
    def of(cls, text: bytes, source: str, line_number: int) -> Lines:
        """Take whole lines apart.

        Args:
            text: whole lines.
            source: the file, for messages.
            line_number: of the first line, from 1.

        Raises:
            UserError: a control character before a letter of the same line, a comment, or white space before
                a `>`: what they stand for is anybody's guess.
        """
        letters = np.frombuffer(text, dtype=np.uint8)
        end = np.flatnonzero(letters == NEWLINE)
        start = np.concatenate(([0], end[:-1] + 1))
        returns = (end > start) & (letters[end - 1] == RETURN)
        spaced = np.zeros(start.size, dtype=np.bool_)
        lines = cls(start, end - start - returns, end - start + 1, letters[start], spaced)
        blanks = int(np.count_nonzero(letters <= SPACE)) - end.size - int(returns.sum())
        for row in np.flatnonzero(lines.first_byte == HEADER).tolist() if blanks else ():
            header = text[start[row] : start[row] + lines.bases[row]]
            blanks -= len(header) - len(header.translate(None, BLANKS))
            if b"\r" in header.rstrip(BLANKS):
                raise UserError(f"{source}, line {line_number + row}: a carriage return (CR) within the line")
        if blanks:
            lines = lines._without_blanks(letters, text, source, line_number)
        for row in np.flatnonzero(lines.first_byte == COMMENT)[:1].tolist():
            raise UserError(
                f"{source}, line {line_number + row}: a line that begins with ';' is a comment to some "
                "programs and sequence to others; remove it"
            )
        return lines

    def _without_blanks(
        self, letters: NDArray[np.uint8], text: bytes, source: str, line_number: int
    ) -> Lines:
        kept = np.add.reduceat(letters > SPACE, self.start, dtype=np.int64)
        is_sequence = self.first_byte != HEADER
        bases = np.where(is_sequence, kept, self.bases)
        spaced = bases != self.bases
        controls = spaced & (np.add.reduceat(letters < SPACE, self.start, dtype=np.int64) > 1)
        for row in np.flatnonzero(controls | (spaced & (self.first_byte <= SPACE))).tolist():
            line = text[self.start[row] : self.start[row] + self.size[row]]
            check_letters(line.rstrip(BLANKS), f"{source}, line {line_number + row}")
        return self._replace(bases=bases, spaced=spaced)

    def between(self, begin: int, end: int) -> Lines:
        """Return rows `begin` to `end`, not included."""
        rows = slice(begin, end)
        start, bases, size, first_byte, spaced = self
        return Lines(start[rows], bases[rows], size[rows], first_byte[rows], spaced[rows])

    def check_ascii(self, text: bytes, where: str, line_number: int) -> None:
        """Refuse the first line that is not ASCII.

        Args:
            text: whole lines.
            where: the file, for messages.
            line_number: of the first line, from 1.
        """
        for row, (start, size) in enumerate(zip(self.start.tolist(), self.size.tolist(), strict=True)):
            if not text[start : start + size].isascii():
                raise UserError(f"{where}: line {line_number + row} is not ASCII text")


def check_letters(line: bytes, where: str) -> None:
    """Refuse what is neither letters nor spaces in a line of sequence, or part of one, without its end.

    Raises:
        UserError: a control character, or a header behind white space.
    """
    found = _CONTROL.search(line)
    if found and found[0] == b"\r":
        raise UserError(f"{where}: a carriage return (CR) within the line")
    if found:
        raise UserError(f"{where}: the control character {found[0].decode()!r} between letters; remove it")
    if line[:1] == b" " and line.lstrip(b" ").startswith(b">"):
        raise UserError(f"{where}: white space before the '>' of a header; remove it")


class LongLine:
    """A line of sequence that comes in parts: what `Lines` would say of it."""

    def __init__(self, part: bytes, where: str) -> None:
        self.where = where
        self._first = part[0]
        self._bases = self._size = 0
        self._spaced = False
        self._trailing = b""  # since the last letter; the begin of it
        if self._first in (HEADER, COMMENT):
            raise UserError(f"{where}: a header or comment of more than {LONG:,} bytes")

    def add(self, part: bytes) -> bytes:
        """Return the letters of a part.

        Raises:
            UserError: as `Lines`, or a byte beyond ASCII.
        """
        if not part.isascii():
            raise UserError(f"{self.where} is not ASCII text")
        body = part.rstrip(BLANKS)
        if body:
            check_letters(self._trailing + body, self.where)
        letters = body.translate(None, BLANKS)
        self._spaced |= len(letters) < len(body) or bool(body and self._trailing)
        # A control character among many spaces is kept: it matters if another letter follows.
        blanks = (b"" if body else self._trailing) + part[len(body) :]
        if len(blanks) > LONG:
            found = _CONTROL.search(blanks)
            blanks = b"  " + (found[0] if found else b"")
        self._trailing = blanks
        self._bases += len(letters)
        self._size += len(part)
        return letters

    def lines(self) -> Lines:
        """Return the line, at its end."""
        spaced = self._spaced or self._trailing not in (b"\n", b"\r\n")
        return Lines(
            np.zeros(1, dtype=np.int64),
            np.array([self._bases]),
            np.array([self._size]),
            np.array([self._first], dtype=np.uint8),
            np.array([spaced]),
        )


def even_text(pieces: Iterable[bytes], source: str) -> Iterator[bytes]:
    """Yield a text of uneven lines with every record on one line, without white space."""
    before = b""
    for text, whole in chunks(Text.of(pieces, source).pieces):
        if not whole:
            yield text.translate(None, BLANKS)
            continue
        position = 0
        for found in re.finditer(rb"^>.*\n", text, re.MULTILINE):
            yield text[position : found.start()].translate(None, BLANKS)
            yield before + found[0]
            before, position = b"\n", found.end()
        yield text[position:].translate(None, BLANKS)
    yield b"\n"
