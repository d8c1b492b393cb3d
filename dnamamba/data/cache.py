"""Files made from a user's file, kept where they can be written and never next to it.

They lie in `$XDG_CACHE_HOME/dnamamba` or `~/.cache/dnamamba`; where that can't be written, in a temporary
folder that goes with the process. A name holds a fingerprint of the file that it was made from, so that a
changed file is never read through a stale index, and a checksum of what was made, so that a damaged one is
made anew. What a killed process left half made is removed by the next.
"""

from __future__ import annotations

import atexit
import fcntl
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from dnamamba.errors import UserError
from dnamamba.files import FULL, sha256_of

_FORMAT = 2  # of what is kept; counts up when it changes
_SAMPLES, _SAMPLE = 64, 1 << 14  # places of a file that its fingerprint covers, and bytes of each
_ANY = "?" * 16  # a digest, to a glob


def fingerprint(source: Path) -> str:
    """Hash the file's size, modification time and content (samples of it above 1 MB) to 16 digits.

    Raises:
        OSError: it can't be read.
    """
    stat = source.stat()
    digest = hashlib.sha256(f"{_FORMAT} {stat.st_size} {stat.st_mtime_ns}".encode())
    with source.open("rb") as file:
        for number in range(_SAMPLES + 1):
            file.seek(min(stat.st_size * number // _SAMPLES, max(stat.st_size - _SAMPLE, 0)))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:16]


def _version(source: Path) -> str:
    """Hash `fingerprint` with the time of the last change by the system's clock, to 16 digits.

    `cp -p`, `rsync -t` and tar set the other time back, and samples need not cover what differs.

    Raises:
        OSError: it can't be read.
    """
    changed = source.stat().st_ctime_ns
    return hashlib.sha256(f"{fingerprint(source)} {changed}".encode()).hexdigest()[:16]


def cached(source: Path, suffix: str, make: Callable[[Path], object], *, large: bool = False) -> Path:
    """Return the file with this suffix that is made from `source`; made now if it isn't there or is damaged.

    `make` writes it under a temporary name, which is then renamed: another process sees all of it or nothing.
    It gets the source's modification time. What was made from earlier versions of the source is removed.

    Args:
        source: a user's file.
        suffix: of the name.
        make: writes the file that it is given.
        large: too large to be checked whenever it is used; the caller checks what it reads.

    Raises:
        UserError: the disk of the cache is full.
    """
    stat, folder = source.stat(), _folder()
    _remove_leftovers(folder)
    begin = folder / f"{_stem(source)}-{_version(source)}"
    found = _whole(begin, suffix, large)
    if found:
        return found
    stem = f"{glob.escape(_stem(source))}-"
    with _beside(folder, suffix) as beside:
        try:
            make(beside)
            _flush(beside)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UserError(
                f"{folder}: {error.strerror}, while {suffix} of {source.name} was written; make room there, "
                "or set XDG_CACHE_HOME to a folder on another disk"
            ) from None
        os.utime(beside, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
        path = Path(f"{begin}{'' if large else f'-{_content_digest(beside)}'}{suffix}")
        if path.is_dir():
            _remove(path)
        os.replace(beside, path)
    for pattern in (f"{stem}{_ANY}{suffix}", f"{stem}{_ANY}-{_ANY}{suffix}"):
        for stale in folder.glob(pattern):
            if stale != path:
                _remove(stale)
    return path


def kept(source: Path, suffix: str, *, large: bool = False) -> Path | None:
    """Return what `cached` made of the file as it is now, if it exists and (unless `large`) is unchanged.

    Args:
        source: the user's file.
        suffix: of the kept file.
        large: do not verify the content of the kept file.
    """
    return _whole(_folder() / f"{_stem(source)}-{_version(source)}", suffix, large)


def _whole(begin: Path, suffix: str, large: bool) -> Path | None:
    if large:
        path = Path(f"{begin}{suffix}")
        return path if path.is_file() else None
    for path in begin.parent.glob(f"{glob.escape(begin.name)}-{_ANY}{suffix}"):
        try:
            # Anything but a file was put there by others: a pipe would be waited for.
            whole = path.is_file() and path.name == f"{begin.name}-{_content_digest(path)}{suffix}"
        except OSError:
            whole = False
        if whole:
            return path
    return None


def cache_folder() -> Path:
    """Return the folder of kept files, which can be written; a temporary one where the user's can't."""
    return _folder()


def forget(source: Path) -> None:
    """Remove all that was made of a file."""
    folder = _folder()
    for path in folder.glob(f"{glob.escape(_stem(source))}-{_ANY}*"):
        _remove(path)


def _remove(path: Path) -> None:
    """Remove what lies under the name of a kept file, whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _stem(source: Path) -> str:
    # A name of at most 255 bytes, with three digests and a suffix.
    short = os.fsdecode(os.fsencode(source.name)[:60]).encode("utf-8", "replace").decode()
    path = os.fsencode(os.path.realpath(source))
    return f"{short}-{hashlib.sha256(path).hexdigest()[:16]}"


def _content_digest(path: Path) -> str:
    return sha256_of(path)[:16]


def _flush(path: Path) -> None:
    """Have it on the disk before it is renamed: a power cut would leave an empty file under the name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _beside(folder: Path, suffix: str) -> Iterator[Path]:
    """Yield a hidden file to write, locked while this process lives, removed at the end if it exists."""
    while True:
        handle, name = tempfile.mkstemp(prefix=".", suffix=suffix, dir=folder)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks, where no leftovers are removed
            break
        if os.path.exists(name):  # else another process took it for a leftover before it was locked
            break
        os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """Remove hidden files that no living process has locked."""
    for path in folder.glob(".*"):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except OSError:
            pass
        finally:
            os.close(handle)


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
