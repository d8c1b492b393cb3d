"""bigWig files: one value per base, by record."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError
from dnamamba.optional import need

_PROGRAM = Path(__file__).with_name("bigwig_process.py")
_ENOUGH = 1 << 20  # bytes free, below which a file that failed failed for want of them


class BigWigWriter:
    """Takes values in the order of the records, and of the bases within each."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        self._pipe = process.stdin

    def add(self, record: str, start: int, values: NDArray[np.float32]) -> None:
        """Add float32 [n] for bases `start`, ...; where a value is NaN the file has none.

        Bases of equal values become one entry, where that takes less than an entry per base.

        Args:
            record: its name.
            start: of the first base, 0-based.
            values: float32 [n].
        """
        there = np.isfinite(values)
        edges = np.flatnonzero(np.diff(there, prepend=False, append=False)).reshape(-1, 2)
        for first, last in edges.tolist():
            part = values[first:last].astype(np.float32, copy=False)
            begins = np.flatnonzero(np.diff(part, prepend=np.float32(np.nan)) != 0)
            runs = 2 * begins.size <= part.size
            self._announce([record, start + first, begins.size if runs else part.size, runs])
            if runs:
                self._pipe.write(np.diff(begins, append=part.size).astype(np.uint32).tobytes())
                part = part[begins]
            self._pipe.write(part.tobytes())

    def _announce(self, what: Any) -> None:
        self._pipe.write(json.dumps(what).encode() + b"\n")


@contextmanager
def bigwig(path: Path, lengths: Mapping[str, int], name: Path | None = None) -> Iterator[BigWigWriter]:
    """Write a bigWig; removed if that fails.

    Args:
        path: the file, which is not whole before the end: see `dnamamba.files.replacing`.
        lengths: bases of each record. Programs look records up by order of name: add values in that of
            `sorted(lengths)`.
        name: what the file will be called, for messages.

    Raises:
        UserError: pyBigWig is not installed, or the file can't be written, for want of space perhaps.
    """
    name = name or path
    need("pyBigWig", "tracks", name.name)
    # Python's own flag against a module of this folder taking the place of another.
    process = subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM), str(path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        writer = BigWigWriter(process)
        writer._announce([[record, lengths[record]] for record in sorted(lengths)])
        yield writer
        writer._announce(None)
        _, said = process.communicate()
    except BrokenPipeError:
        assert process.stderr is not None
        said = process.stderr.read()
        process.wait()
    finally:
        _end(process)
        if process.returncode != 0:
            path.unlink(missing_ok=True)
    if process.returncode != 0:
        raise UserError(f"can't write {name}: {_reason(name, process.returncode, said)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def _reason(path: Path, status: int, said: bytes) -> str:
    if shutil.disk_usage(path.parent).free < _ENOUGH:
        return os.strerror(errno.ENOSPC)
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if status == 1 and lines else "libBigWig failed; is the disk full?"
