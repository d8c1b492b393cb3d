"""One process at a time makes a result: who begins it first has its name until it is there, or has ended."""

import errno
import hashlib
import os
import socket
from pathlib import Path

from dnamamba.errors import UserError

_HELD: dict[Path, tuple[int, int]] = {}  # the process, since a forked child inherits this, and a descriptor


def claim(path: Path, text: str) -> None:
    """Take the name of a result for this process; nothing is written, and a kill gives it back.

    The name is that of a socket without a file, which Linux has, and which ends with its process. On other
    systems, and for processes of other machines, nothing is taken.

    Args:
        path: of the result.
        text: as the user wrote it.

    Raises:
        UserError: another living process makes it.
    """
    place = _place(path)
    if place in _HELD and _HELD[place][0] == os.getpid():
        return
    taken = socket.socket(socket.AF_UNIX)
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()
    try:
        taken.bind(f"\0dnamamba-{os.getuid()}-{digest}")
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"out={text}: another process is writing it; wait for its end, or choose another name"
            ) from None
        return
    _HELD[place] = os.getpid(), taken.detach()


def release(path: Path) -> None:
    """Give a name back, if this process has it."""
    process, taken = _HELD.pop(_place(path), (0, 0))
    if process == os.getpid():
        os.close(taken)


def _place(path: Path) -> Path:
    """Return one name for a result, however it is written; a link in its place is not followed."""
    return Path(os.path.realpath(path.parent)) / path.name
