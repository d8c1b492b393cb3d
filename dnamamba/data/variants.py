"""A VCF file as lines of text: places and alleles are read, all else passes untouched."""

from __future__ import annotations

import gzip
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

from dnamamba.data.compression import DAMAGE, Compression, bgzf_blocks, compression_of, damaged
from dnamamba.data.spool import spooled
from dnamamba.errors import UserError

FIXED = (b"CHROM", b"POS", b"ID", b"REF", b"ALT", b"QUAL", b"FILTER", b"INFO")
_POSITION = re.compile(rb"[0-9]{1,18}")
_LETTERS = re.compile(rb"[A-Za-z]+")
LONGEST_LINE = 1 << 26
"""Bytes of a line, such as a hundred thousand genotypes with all their fields, and of a header in all."""
HEADER_LINES = 1 << 20  # each takes more memory than its bytes
_MARK = b"\xef\xbb\xbf"  # a byte order mark, which Windows editors write


class VcfRow(NamedTuple):
    """A row of a VCF file.

    Attributes:
        number: of the line, from 1.
        columns: all of them, as they are in the file.
        end: the line's end.
    """

    number: int
    columns: list[bytes]
    end: bytes

    @property
    def name(self) -> str:
        """The record it lies on."""
        return self.columns[0].decode("utf-8", "replace")

    @property
    def position(self) -> int:
        """Of the first base of REF, from 1."""
        return int(self.columns[1])

    @property
    def ref(self) -> str:
        """The reference allele."""
        return self.columns[3].decode("ascii")

    @property
    def alts(self) -> list[str | None]:
        """The alternative alleles; None for one that is not spelled out (`<DEL>`, `*`, a breakend).

        Ambiguous letters (IUPAC) are spelled out: what they stand for is for others to judge.
        """
        if self.columns[4] == b".":
            return []
        alleles = self.columns[4].split(b",")
        return [allele.decode("ascii") if _LETTERS.fullmatch(allele) else None for allele in alleles]


class Vcf:
    """A VCF file, plain, gzip or BGZF. It is read from its beginning whenever its rows are asked for.

    Args:
        path: the file, or a pipe, of which a copy is made.

    Attributes:
        header: its lines up to the one of column names, line ends included.
        names: of the columns, without the `#`.

    Raises:
        UserError: no such file, no VCF, or truncated or corrupt BGZF.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.expanduser(path))
        try:
            if self.path.is_dir():
                raise UserError(f"{self.path} is a folder, not a VCF file")
            self._file = spooled(self.path)
            self.compression = compression_of(self._file)
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from None
        if self.compression is Compression.BGZF:
            bgzf_blocks(self._file)
        self.header: list[bytes] = []
        size = 0
        with self._lines() as lines:
            for line in lines:
                if not self.header and not line.startswith(b"##fileformat=VCF"):
                    kind = (
                        "a BCF file: bcftools view makes a VCF of it"
                        if line[:3] == b"BCF"
                        else "not a VCF file"
                    )
                    raise UserError(f"{self.path} is {kind}")
                self.header.append(line)
                size += len(line)
                if size > LONGEST_LINE or len(self.header) > HEADER_LINES:
                    raise UserError(
                        f"{self.path}: a header of more than {LONGEST_LINE:,} bytes or {HEADER_LINES:,} lines"
                    )
                if not line.startswith(b"##"):
                    break
        names = self.header[-1].rstrip(b"\r\n").split(b"\t") if self.header else []
        if not names or not names[0].startswith(b"#") or (names[0][1:], *names[1:8]) != FIXED:
            shown = " ".join(name.decode() for name in FIXED)
            raise UserError(f"{self.path}, line {max(len(self.header), 1)}: expected the columns #{shown}")
        self.names = [names[0][1:], *names[1:]]

    def rows(self) -> Iterator[VcfRow]:
        """Yield all rows, in the file's order.

        Raises:
            UserError: naming the line that is not a row, or the file if it is truncated or corrupt; of BGZF
                (which is there to be indexed) also a row that is out of order.
        """
        seen: set[bytes] = set()
        before = (b"", 0)
        with self._lines() as lines:
            for number, line in enumerate(lines, start=1):
                if number <= len(self.header) or not line.strip():
                    continue
                text = line.rstrip(b"\r\n")
                self._check_columns(text, number)
                row = VcfRow(number, text.split(b"\t"), line[len(text) :] or b"\n")
                self._check(row)
                if self.compression is Compression.BGZF:
                    place = row.columns[0], row.position
                    if place[0] in seen if place[0] != before[0] else place[1] < before[1]:
                        raise UserError(
                            f"{self.path}, line {number}: {row.name}:{row.position} is out of order; "
                            "sort the file, as with bcftools sort"
                        )
                    seen.add(place[0])
                    before = place
                yield row

    def _check_columns(self, text: bytes, number: int) -> None:
        columns = text.count(b"\t") + 1
        if columns != len(self.names):
            raise UserError(
                f"{self.path}, line {number}: {columns} column(s), but the header names {len(self.names)}; "
                "is the file truncated?"
            )

    def _check(self, row: VcfRow) -> None:
        where = f"{self.path}, line {row.number}"
        if not _POSITION.fullmatch(row.columns[1]):
            raise UserError(f"{where}: POS is {_shown(row.columns[1])}, not a whole number")
        if not _LETTERS.fullmatch(row.columns[3]):
            raise UserError(f"{where}: REF is {_shown(row.columns[3])}, not letters of bases")
        if not row.columns[4]:
            raise UserError(f"{where}: ALT is empty")

    @contextmanager
    def _lines(self) -> Iterator[Iterator[bytes]]:
        """Yield the text's lines, ends included; damage anywhere is an error that names the file."""
        try:
            with self._file.open("rb") as file:
                text: IO[bytes] = file
                if self.compression is not Compression.PLAIN:
                    text = io.BufferedReader(gzip.GzipFile(fileobj=file))
                lines = self._bounded(text)
                first = next(lines, b"").removeprefix(_MARK)
                yield chain([first] if first else [], lines)
        except UserError:
            raise
        except DAMAGE as error:
            raise damaged(self.path, error) from None
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from None

    def _bounded(self, text: IO[bytes]) -> Iterator[bytes]:
        """Yield lines, none longer than `LONGEST_LINE`: a small gzip file may hold one of gigabytes."""
        number = 0
        while line := text.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise UserError(f"{self.path}, line {number}: more than {LONGEST_LINE:,} bytes")
            yield line


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("latin-1"))
