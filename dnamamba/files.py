"""Files that are whole or absent."""

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
