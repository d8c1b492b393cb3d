"""Files that are whole or absent."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dnamamba.claims import release
from dnamamba.errors import UserError

LOCK = ".lock"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OLD = ".old"  # ends the name of a folder that is giving way
_LIST = ".together"  # ends the name of a list of files that are all whole, and whose names belong together


@contextmanager
def locked(folder: Path, other: str = "another hydra.run.dir") -> Iterator[None]:
    """Make `folder` and keep every other process out of it that asks likewise; it is removed if left empty.

    The lock ends with its process, however that ends, and children do not inherit it.

    Args:
        folder: to write.
        other: what the user may choose instead, for messages.

    Raises:
        UserError: another process has it, or the folder can't be written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _lock(folder / LOCK, other)
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror}); choose {other}") from None
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)
        if made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _lock(path: Path, other: str) -> int:
    """Open and lock the file; whoever had it before may have removed it in between."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return handle  # a file system without locks
            os.close(handle)
            raise UserError(
                f"{path.parent}: another run is writing here; wait for its end, or choose {other}"
            ) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)


def in_use(folder: Path) -> bool:
    """Return whether another process has the lock of `folder`; False where locks can't be asked for.

    Not for a process that has the lock itself: it would lose it.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    finally:
        os.close(handle)
    return False


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make a folder for what is about to be written; on an error it is removed again if it was left empty."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # it is not empty
            for folder in made:
                folder.rmdir()
        raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let a full disk's error, which knows no file, say which one could not be written."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; renamed at the end, removed on an error.

    It is on the disk before it has its name. What a killed process of this machine left there is removed.
    """
    remove_leftovers(path.parent, path.name)
    beside = _beside(path)
    try:
        with _naming(path):
            yield beside
        flush(beside)
        os.replace(beside, path)
        _flush_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)
        release(path)


@contextmanager
def replacing_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Replace files of one folder together: none has its name before all are whole.

    Who is killed between the first renaming and the last leaves a list, by which `complete` does the rest.
    """
    for path in paths:
        remove_leftovers(path.parent, path.name)
    besides = [_beside(path) for path in paths]
    listed = _beside(paths[0]).with_name(_beside(paths[0]).name + _LIST)
    try:
        with _naming(paths[0]):
            yield besides
        for beside in besides:
            flush(beside)
        listed.write_text(json.dumps([path.name for path in paths]), encoding="utf-8")
        flush(listed)
        try:
            for beside, path in zip(besides, paths, strict=True):
                os.replace(beside, path)
        except KeyboardInterrupt:  # or another signal that `command` makes one of
            _rename_listed(listed)
            raise
        _flush_folder(paths[0].parent)
    finally:
        for beside in (*besides, listed):
            beside.unlink(missing_ok=True)
        for path in paths:
            release(path)


def complete(folder: Path) -> None:
    """Rename what a process of this machine had whole when it was killed, see `replacing_together`."""
    pattern = re.compile(rf"\.([0-9]+)-{_host()}\..+{re.escape(_LIST)}")
    for found in map(pattern.fullmatch, os.listdir(folder) if folder.is_dir() else ()):
        if found and not _lives(int(found[1])):
            _rename_listed(folder / found[0])
            (folder / found[0]).unlink(missing_ok=True)


def _rename_listed(listed: Path) -> None:
    """Rename what a list names; one that is not whole, since its process died over it, names nothing."""
    try:
        names = json.loads(listed.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return
    owner = listed.name.split(".")[1]
    for name in map(os.path.basename, names):
        with suppress(FileNotFoundError):  # it has its name
            os.replace(listed.with_name(f".{owner}.{name}"), listed.with_name(name))


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Make a folder of files under a temporary name; at the end it replaces an older one.

    Between the two renames of that there is a moment without `path`; who is killed in it leaves the older one
    under a hidden name, and the next call gives it back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    beside = _beside(path)
    old = beside.with_name(beside.name + _OLD)
    shutil.rmtree(beside, ignore_errors=True)  # of an earlier process with our number
    beside.mkdir()
    try:
        yield beside
        for made in beside.iterdir():
            flush(made)
        if path.exists():
            os.replace(path, old)
        os.replace(beside, path)
        _flush_folder(path.parent)
    except OSError:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    finally:
        for leftover in (beside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        release(path)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes of this machine left in `folder` for the file `name`, or for any."""
    pattern = re.compile(rf"\.([0-9]+)-{_host()}\.({'.+?' if name is None else re.escape(name)})({_OLD})?")
    for found in map(pattern.fullmatch, os.listdir(folder) if folder.is_dir() else ()):
        if not found or _lives(int(found[1])):
            continue
        left, place = folder / found[0], folder / found[2]
        if found[3] and not place.exists():
            os.replace(left, place)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Return the temporary path of this process for `path`."""
    return path.with_name(f".{os.getpid()}-{_host()}.{path.name}")


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Have it on the disk: after a power cut, a name could else stand for an empty file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(path: Path) -> None:
    """Have its names on the disk, where the file system can do that; the files themselves are safe."""
    with suppress(OSError):
        flush(path)
