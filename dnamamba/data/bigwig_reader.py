"""Values of a bigWig, read in a child process: libBigWig ends its process on some damaged files."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError
from dnamamba.optional import need

_PROGRAM = Path(__file__).with_name("bigwig_reading.py")


class BigWig:
    """A bigWig that is open.

    Attributes:
        lengths: bases of each record, as the file says.
        covered: bases with a value, as its header says; 0 where it says nothing.
    """

    def __init__(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.path, self._ask, self._answers = path, process.stdin, process.stdout
        try:
            self.lengths: dict[str, int] = json.loads(self._answers.readline())
            self.covered = _covered(path)
        except (ValueError, struct.error):
            raise UserError(f"{path}: is not a bigWig file, or damaged; use another copy") from None

    def values(self, name: str, start: int, end: int) -> NDArray[np.float32]:
        """Return float32 [end - start], NaN where the file has no value.

        Args:
            name: of the record.
            start: 0-based.
            end: not included.

        Raises:
            UserError: the file is damaged there.
        """
        self._say([name, start, end])
        size = 4 * (end - start)
        found = self._answers.read(size)
        if len(found) != size:
            raise self._damaged()
        return np.frombuffer(found, dtype=np.float32)

    def covered_by_intervals(self, name: str, start: int, end: int) -> int:
        """Count the bases in intervals of the file, those with the value NaN among them.

        Args:
            name, start, end: as of `values`.

        Raises:
            UserError: the file is damaged there.
        """
        self._say([name, start, end, None])
        try:
            return int(self._answers.readline())
        except ValueError:
            raise self._damaged() from None

    def _say(self, what: list[Any]) -> None:
        try:
            self._ask.write(json.dumps(what).encode() + b"\n")
            self._ask.flush()
        except BrokenPipeError:
            raise self._damaged() from None

    def _damaged(self) -> UserError:
        return UserError(f"{self.path}: is damaged; its library ended while it was read; use another copy")


def _covered(path: Path) -> int:
    """Read the number of bases with a value; pyBigWig (0.3.29) crashes where the sum next to it is NaN.

    Source: Kent et al. 2010, Bioinformatics 26:2204, supplementary tables 5 and 19.
    """
    with path.open("rb") as file:
        header = file.read(64)
        order = "<" if header.startswith(b"\x26\xfc\x8f\x88") else ">"
        (place,) = struct.unpack_from(f"{order}Q", header, 44)
        if not place:
            return 0
        file.seek(place)
        (covered,) = struct.unpack(f"{order}Q", file.read(8))
    return int(covered)


@contextmanager
def opened(path: Path) -> Iterator[BigWig]:
    """Open a bigWig for reading.

    Args:
        path: of the file.

    Raises:
        UserError: there is no such file, it is not a bigWig, it is damaged, or pyBigWig is not installed.
    """
    need("pyBigWig", "tracks", path.name)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    # Python's own flag against a module of this folder taking the place of another.
    process = subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield BigWig(path, process)
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        process.wait()
