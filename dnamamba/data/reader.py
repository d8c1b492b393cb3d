"""An open FASTA file: pyfaidx with indices that lie in the cache."""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyfaidx import Faidx

from dnamamba.data.cache import cached
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
from dnamamba.data.fai import fai_text, index_fasta
from dnamamba.errors import UserError


class RecordReader:
    """Reads records as letters. Belongs to the process that made it: two that share a handle move each other.

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
        """The letters of a record, line ends left out, in pieces of about a megabyte: uint8 `[piece]`."""
        record = self._faidx.index[name]
        left, bytes_left = record.rlen, record.bend - record.offset
        try:
            self._faidx.file.seek(self._place(record.offset))
            while left:
                text = np.frombuffer(self._faidx.file.read(min(PIECE, bytes_left)), dtype=np.uint8)
                if not text.size:
                    raise EOFError("it ends before the record does")
                bytes_left -= text.size
                letters = text[(text != ord("\n")) & (text != ord("\r"))][:left]
                left -= letters.size
                yield letters
        except DAMAGE as error:
            raise damaged(self.path, error) from None

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
        if self._compression is Compression.BGZF and named_bgzf:
            gzi = cached(path, ".gzi", lambda to: to.write_bytes(gzi_bytes(bgzf_blocks(path))))
        elif self._compression is not Compression.PLAIN:
            path = cached(path, ".fa", partial(expand, path))
            self._compression = Compression.PLAIN
        fai = cached(self.path, ".fai", lambda to: to.write_text(self._index(path)))
        return Faidx(path, indexname=fai, gzi_indexname=gzi, rebuild=False, build_index=False)

    def _index(self, path: Path) -> str:
        try:
            pieces = text_pieces(path, self._compression, f"indexing {self.path.name}")
            return fai_text(index_fasta(pieces, str(self.path)))
        except UserError:
            raise
        except DAMAGE as error:
            raise damaged(self.path, error) from None
