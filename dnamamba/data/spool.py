"""Inputs that can be read once only, such as pipes and `<(zcat my.vcf.gz)`, as files to read again."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from dnamamba.errors import UserError


def spooled(path: Path, at_exit: Callable[[Path], None] | None = None) -> Path:
    """Return the file itself, or a copy of all that a pipe gives, which goes with the process.

    Args:
        path: of a file or a pipe.
        at_exit: called with the copy before it goes, if there is one.

    Raises:
        OSError: it can't be read.
        UserError: there is no room for the copy.
    """
    if not stat.S_ISFIFO(path.stat().st_mode):
        return path
    handle, name = tempfile.mkstemp(prefix="dnamamba-")
    copy = Path(name)
    atexit.register(_remove, copy, os.getpid(), at_exit)
    try:
        with os.fdopen(handle, "wb") as out, path.open("rb") as pipe:
            shutil.copyfileobj(pipe, out)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{copy.parent}: {error.strerror}, while a copy of {path} was made; set TMPDIR to another disk"
        ) from None
    return copy


def _remove(copy: Path, pid: int, at_exit: Callable[[Path], None] | None) -> None:
    # A forked child inherits this call; the copy is its parent's.
    if os.getpid() == pid:
        if at_exit is not None:
            at_exit(copy)
        copy.unlink(missing_ok=True)
