"""Inputs that can be read once only, such as pipes and `<(zcat my.vcf.gz)`, as files to read again."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

from dnamamba.errors import UserError


def spooled(path: Path) -> Path:
    """The file itself, or a copy of all that a pipe gives, which goes with the process.

    Raises:
        OSError: it can't be read.
        UserError: there is no room for the copy.
    """
    if not stat.S_ISFIFO(path.stat().st_mode):
        return path
    handle, name = tempfile.mkstemp(prefix="dnamamba-")
    copy = Path(name)
    atexit.register(_remove, copy, os.getpid())
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


def _remove(copy: Path, pid: int) -> None:
    # A forked child inherits this call; the copy is its parent's.
    if os.getpid() == pid:
        copy.unlink(missing_ok=True)
