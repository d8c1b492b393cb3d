"""Lines of a text file that people bring: plain, gzip or BGZF; each of bounded length."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from dnamamba.data.compression import DAMAGE, Compression, compression_of, damaged
from dnamamba.data.spool import spooled
from dnamamba.errors import UserError

LONGEST_LINE = 1 << 20
"""Characters in a line of BED, GFF3 and GTF."""


def text_lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a file without their ends; a byte order mark is skipped.

    Args:
        path: of the file, or of a pipe.

    Raises:
        UserError: no such file, damaged or not UTF-8 text, or a line is longer than `LONGEST_LINE`.
    """
    path = Path(os.path.expanduser(path))
    try:
        if path.is_dir():
            raise UserError(f"{path}: a folder, not a file; give the file's own name")
        held = spooled(path)
        compressed = compression_of(held) is not Compression.PLAIN
        with _opened(held, compressed) as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise UserError(f"{path}, row {number}: more than {LONGEST_LINE:,} characters")
                yield line.removesuffix("\n")
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise damaged(path, error) from None
        raise UserError(f"{path}: {error.strerror}") from None
    except DAMAGE as error:
        raise damaged(path, error) from None


def _opened(path: Path, compressed: bool) -> TextIO:
    if compressed:
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")
