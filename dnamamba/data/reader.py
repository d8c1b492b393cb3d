"""An open FASTA file: pyfaidx with indices that lie in the cache."""

from __future__ import annotations

import warnings
import weakref
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from pyfaidx import Faidx

from dnamamba.data.cache import cached, forget, kept
from dnamamba.data.compression import (
    DAMAGE,
    PIECE,
    Compression,
    bgzf_blocks,
    compression_of,
    damaged,
    expand,
    gzi_bytes,
    text_pieces,
)
from dnamamba.data.fai import UnevenError, fai_text, index_with_checksums, name_before
from dnamamba.data.fasta_lines import even_text
from dnamamba.errors import UserError


class StaleError(UserError):
    """What is read is not what was indexed: the file has changed, or the cache's copy of its text."""


class _Faidx(Faidx):
    def _open_fai(self, mode: str) -> IO[str]:
        # pyfaidx 0.9.2 itself takes the encoding of the user's language.
        return open(self.indexname, mode, encoding="utf-8", newline="\n")


class RecordReader:
    """Reads records as letters. Belongs to the process that made it: two that share a handle move each other.

    Attributes:
        lengths: bases of each record, in the order of the file.
        is_copy: whether the text is one made of the file, in the cache.

    Raises:
        UserError: the file cannot be read, is damaged, or is not FASTA.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._compression = compression_of(path)
            self._faidx = self._open()
            # In a cycle of garbage the file would be collected, with a warning, before pyfaidx closes it.
            weakref.finalize(self, self._faidx.close)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from None
        if self._compression is Compression.BGZF:
            self._block_starts = [block.ustart for block in self._faidx.gzi_index]
        self.lengths = {name: record.rlen for name, record in self._faidx.index.items()}

    def letters(self, name: str) -> Iterator[NDArray[np.uint8]]:
        """Yield the letters of a record, line ends left out, in pieces of about a megabyte: uint8 `[piece]`.

        Raises:
            StaleError: the header above them has another name, or, after the last piece, they are not those
                that were indexed; the index is removed.
        """
        record = self._faidx.index[name]
        left, bytes_left, checksum = record.rlen, record.bend - record.offset, 0
        try:
            if name_before(self._read, record.offset) != name:
                raise self._stale(name)
            self._faidx.file.seek(self._place(record.offset))
            while left:
                text = np.frombuffer(self._faidx.file.read(min(PIECE, bytes_left)), dtype=np.uint8)
                if not text.size:
                    break
                bytes_left -= text.size
                letters = text[(text != ord("\n")) & (text != ord("\r"))][:left]
                left -= letters.size
                checksum = zlib.crc32(letters, checksum)
                yield letters
        except StaleError:
            raise
        except DAMAGE as error:
            raise damaged(self.path, error) from None
        if left or checksum != self._checksums[name]:
            raise self._stale(name)

    def _read(self, start: int, size: int) -> bytes:
        self._faidx.file.seek(self._place(start))
        return bytes(self._faidx.file.read(size))

    def _stale(self, name: str) -> StaleError:
        forget(self.path)
        return StaleError(
            f"{self.path}, record {name}: not what it was when the file was indexed; "
            "the index is removed, run it again"
        )

    def _place(self, offset: int) -> int:
        # pyfaidx 0.9.2 itself would seek out of range where a record begins on the border of two full blocks.
        if self._compression is not Compression.BGZF:
            return offset
        block = self._faidx.gzi_index[bisect_right(self._block_starts, offset) - 1]
        return block.cstart << 16 | (offset - block.ustart)

    def _open(self) -> Faidx:
        path, gzi = self.path, None
        # pyfaidx takes a file for BGZF if and only if its name says so.
        named_bgzf = path.suffix.lower() in (".gz", ".bgz")
        if self._compression is Compression.PLAIN and named_bgzf:
            raise UserError(f"{path} is not compressed although its name ends in {path.suffix}; rename it")
        even = kept(path, ".even.fa", large=True)
        if even:
            return self._faidx_of(even, ".even")
        if self._compression is Compression.BGZF and named_bgzf:
            gzi = cached(path, ".gzi", lambda to: to.write_bytes(gzi_bytes(bgzf_blocks(path))))
        elif self._compression is not Compression.PLAIN:
            path = cached(path, ".fa", partial(expand, path), large=True)
            self._compression = Compression.PLAIN
        try:
            return self._faidx_of(path, "", gzi)
        except UnevenError:
            even = cached(self.path, ".even.fa", partial(self._write_even, path), large=True)
            if path != self.path:
                path.unlink(missing_ok=True)
            return self._faidx_of(even, ".even")

    def _faidx_of(self, path: Path, prefix: str, gzi: Path | None = None) -> Faidx:
        """Open a text: the file's own, or one made of it that is in the cache."""
        if prefix:
            self._compression = Compression.PLAIN
        made: list[bytes] = []

        def index(number: int) -> bytes:
            if not made:
                made.extend(self._index(path))
            return made[number]

        fai = cached(self.path, f"{prefix}.fai", lambda to: to.write_bytes(index(0)))
        crc = cached(self.path, f"{prefix}.crc", lambda to: to.write_bytes(index(1)))
        self.is_copy = path != self.path
        with warnings.catch_warnings():
            # By their times, which copying a cache changes; what an index is of, its name says.
            warnings.filterwarnings("ignore", message=".* is older than FASTA file")
            faidx = _Faidx(path, indexname=fai, gzi_indexname=gzi, rebuild=False, build_index=False)
        checksums = np.fromfile(crc, dtype="<u4").tolist()
        self._checksums = dict(zip(faidx.index, checksums, strict=True))
        return faidx

    def _index(self, path: Path) -> tuple[bytes, bytes]:
        """Return the `.fai` file of a text, and the CRC-32 of each record."""
        try:
            pieces = text_pieces(path, self._compression, f"indexing {self.path.name}")
            records, checksums = index_with_checksums(pieces, str(self.path))
        except UserError:
            raise
        except DAMAGE as error:
            raise damaged(self.path, error) from None
        return fai_text(records).encode(), np.array(checksums, dtype="<u4").tobytes()

    def _write_even(self, path: Path, to: Path) -> None:
        pieces = text_pieces(path, self._compression, f"joining the lines of {self.path.name}")
        with to.open("wb") as file:
            file.writelines(even_text(pieces, str(self.path)))
