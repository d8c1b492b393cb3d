"""Files made from a user's file, kept where they can be written and never beside it.

They lie in `$XDG_CACHE_HOME/dnamamba` or `~/.cache/dnamamba`; where that can't be written, in a temporary
folder that goes with the process. A name holds the size and the modification time of the file that it was
made from, so that a changed file is never read through a stale index.
"""

from __future__ import annotations

import atexit
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path


def cached(source: Path, suffix: str, make: Callable[[Path], object]) -> Path:
    """The file with this suffix that is made from `source`; made now if it isn't there.

    `make` writes it under a temporary name, which is then renamed: another process sees all of it or nothing.
    It gets the source's modification time. What was made from earlier versions of the source is removed.
    """
    stat = source.stat()
    folder = _folder()
    stem = f"{source.name[:60]}-{_digest(os.path.realpath(source))}"
    path = folder / f"{stem}-{_digest(f'{stat.st_size} {stat.st_mtime_ns}')}{suffix}"
    if path.exists():
        return path
    handle, beside = tempfile.mkstemp(prefix=".", suffix=suffix, dir=folder)
    os.close(handle)
    try:
        make(Path(beside))
        os.utime(beside, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
        os.replace(beside, path)
    finally:
        Path(beside).unlink(missing_ok=True)
    for stale in folder.glob(f"{glob.escape(stem)}-{'?' * 16}{suffix}"):
        if stale != path:
            stale.unlink(missing_ok=True)
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(os.path.join("~", ".cache"))
    folder = Path(base) / "dnamamba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return _temporary_folder(os.getpid())


@cache
def _temporary_folder(pid: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dnamamba-"))

    def remove() -> None:
        # A forked child inherits this call; the folder is its parent's.
        if os.getpid() == pid:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
