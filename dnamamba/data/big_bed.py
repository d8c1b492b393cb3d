"""Rows of a bigBed as lines of a BED, read in a child process, which its library may end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dnamamba.errors import UserError
from dnamamba.optional import need

SUFFIXES = (".bb", ".bigbed")
_PROGRAM = Path(__file__).with_name("big_bed_reading.py")
_NOT_BIGBED = 2  # the program's status


def is_big_bed(path: str | Path) -> bool:
    """Return whether the name says bigBed."""
    return str(path).lower().endswith(SUFFIXES)


def big_bed_lines(path: str | Path) -> Iterator[str]:
    """Yield the rows of a bigBed as tab-separated lines, by record and start.

    Args:
        path: of the file.

    Raises:
        UserError: there is no such file, it is not a bigBed or damaged, or pyBigWig is not installed.
    """
    path = Path(path).expanduser()
    need("pyBigWig", "tracks", path.name)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    # Python's own flag against a module of this folder taking the place of another.
    with subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM), str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.decode("utf-8", "replace").rstrip("\n")
    if process.returncode == _NOT_BIGBED:
        raise UserError(f"{path}: is not a bigBed file, or damaged; use another copy")
    if process.returncode:
        raise UserError(f"{path}: is damaged; its library ended while it was read; use another copy")
