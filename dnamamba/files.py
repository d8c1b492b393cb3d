"""Files that are whole or absent."""

import errno
import fcntl
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dnamamba.errors import UserError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make `folder` and keep every other process out of it that asks likewise; it is removed if left empty.

    The lock ends with its process, however that ends, and children do not inherit it.

    Raises:
        UserError: another process has it, or the folder can't be written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _lock(folder / LOCK)
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror}); choose another hydra.run.dir") from None
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)
        if made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _lock(path: Path) -> int:
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
                f"{path.parent}: another run is writing here; wait for its end, or choose another hydra.run.dir"
            ) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, of the same suffix; renamed at the end, removed on an error.

    It is on the disk before it has its name. What a killed process of this machine left there is removed.
    """
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    _remove_leftovers(path, host)
    beside = path.with_name(f".{os.getpid()}-{host}.{path.name}")
    try:
        yield beside
        _flush(beside)
        os.replace(beside, path)
        with suppress(OSError):  # not every file system can flush a folder, and the file itself is safe
            _flush(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _remove_leftovers(path: Path, host: str) -> None:
    pattern = re.compile(rf"\.([0-9]+)-{host}\.{re.escape(path.name)}")
    for name in os.listdir(path.parent) if path.parent.is_dir() else ():
        found = pattern.fullmatch(name)
        if found and not _lives(int(found[1])):
            path.with_name(name).unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _flush(path: Path) -> None:
    """Have it on the disk: after a power cut, a name could else stand for an empty file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
