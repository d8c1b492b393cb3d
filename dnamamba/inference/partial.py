"""What a run has made so far, kept next to its output until that is whole: a killed run resumes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnamamba.claims import release
from dnamamba.errors import UserError
from dnamamba.inference.contexts import Part, Plan

_ENTRY = struct.Struct("<qI")  # a finished context and the CRC-32 of its rows
_READ = 1 << 24  # bytes
_MARGIN = 1 << 20  # bytes of an output beyond its rows, for a start


class Partial:
    """A hidden folder next to the output: raw rows, and a journal of the contexts that are complete.

    The journal's checksums are why it is never wrong, whatever was lost when a machine went down: rows that
    do not match are made again.

    Args:
        out: the output.
        plan: the rows.
        width: D.
        settings: all that decides the values; plain ones.

    Raises:
        UserError: another process is writing it, it is of other settings, or it can't be written.
    """

    def __init__(self, out: Path, plan: Plan, width: int, settings: dict[str, Any]) -> None:
        self._values = self._journal = -1
        try:
            self._begin(out, plan, width, settings)
        except OSError as error:
            self.close()
            raise UserError(
                f"can't write {self.folder}: {error.strerror}; make room there, or choose another out"
            ) from error

    def _begin(self, out: Path, plan: Plan, width: int, settings: dict[str, Any]) -> None:
        self.out = out
        self.folder = out.with_name(f".{out.name}.partial")
        self._plan = plan
        self._row_bytes = 4 * width
        self._checksums: dict[int, int] = {}
        self.done: list[int] = []
        header = self.folder / "settings.json"
        found = _read(header)
        if found != settings and not _size(self.folder / "journal"):
            found = None  # nothing is finished: nothing is lost with it
        if found is not None and found != settings:
            wrong = ", ".join(sorted(k for k in {*found, *settings} if found.get(k) != settings.get(k)))
            raise UserError(
                f"{self.folder} holds an unfinished run with another {wrong}: "
                "finish it with its own settings, remove that folder, or choose another out"
            )
        self._need_space(plan.rows * self._row_bytes)
        self.folder.mkdir(exist_ok=True)
        self._values = os.open(self.folder / "values.f32", os.O_RDWR | os.O_CREAT, 0o644)
        self._journal = os.open(self.folder / "journal", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise UserError(f"another process is writing {out}: {self.folder} is in use") from None
        if found is None:
            os.ftruncate(self._journal, 0)
            header.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        else:
            self.done = self._finished()

    def add(self, part: Part) -> None:
        """Keep the rows; a context counts as done after its last part.

        Raises:
            OSError: they can't be written.
        """
        data = part.values.tobytes()
        _write(self._values, data, part.row * self._row_bytes)
        checksum = zlib.crc32(data, self._checksums.pop(part.context, 0))
        if part.complete:
            os.write(self._journal, _ENTRY.pack(part.context, checksum))
        else:
            self._checksums[part.context] = checksum

    def values(self) -> NDArray[np.float32]:
        """Return all rows, float32 [rows, D], read from the disk as they are used."""
        shape = (self._plan.rows, self._row_bytes // 4)
        # As a plain array, which is what AnnData writes.
        return np.asarray(np.memmap(self.folder / "values.f32", dtype=np.float32, mode="r", shape=shape))

    def kept(self, keep: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Copy some of the rows to a file of their own, to drop the others.

        Raises:
            OSError: they can't be written.
        """
        path, values, rows = self.folder / "kept.f32", self.values(), np.flatnonzero(keep)
        block = max(1, _READ // self._row_bytes)
        with path.open("wb") as file:
            for first in range(0, len(rows), block):
                file.write(values[rows[first : first + block]].tobytes())
        shape = (len(rows), self._row_bytes // 4)
        return np.asarray(np.memmap(path, dtype=np.float32, mode="r", shape=shape))

    def place(self, name: str) -> Path:
        """Return the path to make the output at, without leftovers of an earlier run.

        Raises:
            OSError: there is no room for it. HDF5 would crash on a disk that fills up under it.
        """
        path = self.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if hasattr(os, "posix_fallocate"):
            with tempfile.TemporaryFile(dir=self.folder) as file:
                os.posix_fallocate(file.fileno(), 0, _MARGIN + self._plan.rows * self._row_bytes)
        return path

    def publish(self, made: Path) -> None:
        """Rename a finished file or folder within this folder to the output, and remove the rest.

        The folder is renamed before: what a kill leaves of it is then known to be done with, see `tidy`.
        """
        done = _published(self.out)
        shutil.rmtree(done, ignore_errors=True)
        os.replace(self.folder, done)
        made = done / made.name
        if made.is_dir() and os.path.lexists(self.out):  # else it can only replace an empty folder
            os.replace(self.out, done / "replaced")
        os.replace(made, self.out)
        shutil.rmtree(done, ignore_errors=True)
        release(self.out)

    def close(self) -> None:
        """Let go of the files, which stay."""
        for handle in {self._values, self._journal} - {-1}:
            os.close(handle)

    def _need_space(self, size: int) -> None:
        """Require space for the rows twice: before the end they are here and in the output."""
        values = self.folder / "values.f32"
        there = _size(values)
        free = shutil.disk_usage(self.out.parent).free
        if 2 * size - there > free:
            raise UserError(
                f"can't write {self.out}: it takes {2 * size / 1e9:.1f} GB of disk while it is made, "
                f"and {free / 1e9:.1f} GB are free"
            )

    def _finished(self) -> list[int]:
        entries = os.pread(self._journal, os.fstat(self._journal).st_size, 0)
        whole = len(entries) // _ENTRY.size * _ENTRY.size
        os.ftruncate(self._journal, whole)
        contexts = len(self._plan.first_row) - 1
        entries_read = _ENTRY.iter_unpack(entries[:whole])
        # A number that the disk has changed names no context: what it stood for is made again.
        last = {context: checksum for context, checksum in entries_read if 0 <= context < contexts}
        return [context for context, checksum in last.items() if self._checksum(context) == checksum]

    def _checksum(self, context: int) -> int:
        first, last = (int(row) * self._row_bytes for row in self._plan.first_row[context : context + 2])
        checksum = 0
        for place in range(first, last, _READ):
            checksum = zlib.crc32(os.pread(self._values, min(_READ, last - place), place), checksum)
        return checksum


def tidy(out: Path) -> None:
    """Remove what a killed process left next to an output that it had finished."""
    done = _published(out)
    if not done.is_dir() or _in_use(done / "journal"):
        return
    unfinished = out.with_name(f".{out.name}.partial")
    if any(done.glob("result*")) and not unfinished.exists():
        os.replace(done, unfinished)  # killed before the last rename: all is there, to resume from
    else:
        shutil.rmtree(done, ignore_errors=True)


def _published(out: Path) -> Path:
    return out.with_name(f".{out.name}.published")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _in_use(journal: Path) -> bool:
    try:
        handle = os.open(journal, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _read(header: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(header.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError, RecursionError):
        return None


def _write(handle: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, place)
        view, place = view[written:], place + written
