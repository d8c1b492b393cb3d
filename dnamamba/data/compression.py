"""How a file is compressed, and its text: plain, gzip, or BGZF (gzip in blocks, readable from the middle)."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, Any

from Bio import bgzf

from dnamamba.data.progress import reading
from dnamamba.errors import UserError

PIECE = 1 << 20
# What reading compressed data raises, in gzip, zlib and Bio.bgzf, when the data are damaged.
DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, struct.error, ValueError, RuntimeError)
# The first bytes of files that are compressed otherwise.
OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "Zstandard", b"PK\x03\x04": "zip"}


class Compression(Enum):
    PLAIN = "plain"
    GZIP = "gzip"
    BGZF = "BGZF"


def compression_of(path: Path) -> Compression:
    """Detect the compression by the first bytes; the name does not count.

    Raises:
        UserError: compressed otherwise.
    """
    with path.open("rb") as file:
        head = file.read(18)
    for magic, other in OTHERS.items():
        if head.startswith(magic):
            raise UserError(
                f"{path} is compressed with {other}; give it plain, or compressed with gzip or bgzip"
            )
    if not head.startswith(b"\x1f\x8b"):
        return Compression.PLAIN
    # A gzip header with an extra field (flag 4), which begins with the two letters BC and their length, 2.
    return Compression.BGZF if head[3:4] == b"\x04" and head[12:16] == b"BC\x02\x00" else Compression.GZIP


def expand(path: Path, to: Path) -> None:
    """Write the text of a gzip or BGZF file into another file.

    Raises:
        UserError: the file is truncated or corrupt.
    """
    try:
        with (
            path.open("rb") as file,
            to.open("wb") as out,
            reading(f"unpacking {path.name}", path.stat().st_size) as done,
            gzip.GzipFile(fileobj=file) as text,
        ):
            position = 0
            while piece := text.read(PIECE):
                out.write(piece)
                done(file.tell() - position)
                position = file.tell()
    except EOFError:
        raise UserError(f"{path} is truncated: its gzip data stop in the middle") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is corrupt: {_one_line(error)}") from None


def bgzf_blocks(path: Path) -> list[tuple[int, int]]:
    """Find where each block of a BGZF file begins, in the file and in its text, verifying checksums.

    Raises:
        UserError: the file is truncated or corrupt.
    """
    blocks: list[tuple[int, int]] = []
    last_length = -1
    try:
        with path.open("rb") as file, reading(f"checking {path.name}", path.stat().st_size) as done:
            for start, compressed, text_start, length in bgzf.BgzfBlocks(file):
                blocks.append((start, text_start))
                last_length = length
                done(compressed)
    except DAMAGE as error:
        raise damaged(path, error) from None
    if last_length != 0:
        raise UserError(f"{path} is truncated: the empty block that ends a BGZF file is missing")
    return blocks


def gzi_bytes(blocks: list[tuple[int, int]]) -> bytes:
    """Return the blocks' `.gzi` file, which by definition leaves out the first, at 0, and the empty last."""
    inner = blocks[1:-1]
    return struct.pack(f"<Q{2 * len(inner)}Q", len(inner), *(number for block in inner for number in block))


def text_pieces(path: Path, compression: Compression, what: str) -> Iterator[bytes]:
    """Yield the text of a plain or BGZF file, in pieces; `what` is the progress bar's text.

    Args:
        path: the file.
        compression: from `compression_of`.
        what: the progress bar's text.
    """
    with path.open("rb") as file, reading(what, path.stat().st_size) as done:
        text: Any = bgzf.BgzfReader(fileobj=file, mode="rb") if compression is Compression.BGZF else file
        position = 0
        while piece := text.read(PIECE):
            yield piece
            done(file.tell() - position)
            position = file.tell()


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write text into; BGZF if the name ends in `.gz` or `.bgz`."""
    with path.open("wb") as file:
        if path.suffix in (".gz", ".bgz"):
            with bgzf.BgzfWriter(fileobj=file) as compressed:
                yield compressed
        else:
            yield file


def damaged(path: Path, error: Exception) -> UserError:
    """Return the error to raise for one of `DAMAGE`."""
    return UserError(f"{path} is truncated or corrupt: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
