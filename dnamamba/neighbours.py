"""The processes that a launcher has started on one machine, each known to the others from its start.

What connects them is made late, and who waits for it has no way to learn that another was killed before:
torch waits for half an hour. So each holds a lock on a file of its own, which ends with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from dnamamba.processes import process_number, processes_started

_OLD = 60.0  # seconds after which a folder in which nobody lives was not made a moment ago
# A SLURM job queued again keeps its number, and its steps begin at 0: a killed attempt's files aren't its.
_ATTEMPTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
_ENVIRONMENT = ("MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_STEP_ID", *_ATTEMPTS)


class _Place(NamedTuple):
    """This process's file, locked as long as `handle` is open."""

    path: Path
    handle: IO[str]
    owner: int


_place: _Place | None = None


def arrive() -> None:
    """Let the other processes know of this one; nothing where it is alone or there is no room."""
    global _place
    if processes_started() == 1 or _place is not None:
        return
    with suppress(OSError):
        folder = _folder()
        _remove_empty(folder)
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / str(process_number())
        hidden = folder / f".{os.getpid()}"
        handle = hidden.open("w", encoding="utf-8")
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)  # locked, from the moment that others can see it
        _place = _Place(path, handle, os.getpid())


def leave() -> None:
    """Go without being missed: this process has done its part."""
    global _place
    if _place is None or _place.owner != os.getpid():
        return
    with suppress(OSError):
        _place.path.unlink()
        _place.path.parent.rmdir()  # unless another is there
    _place.handle.close()
    _place = None


def gone() -> str | None:
    """Return which of the others has ended without a word; None while there is none."""
    if _place is None:
        return None
    with suppress(OSError):
        for path in _place.path.parent.iterdir():
            if path != _place.path and not path.name.startswith(".") and not _lives(path) and path.exists():
                return f"process {path.name} is gone"
    return None


def absent() -> str | None:
    """Return which of the others has not come, where all are on this machine; None where all are there."""
    if _place is None or not _all_on_this_machine():
        return None
    with suppress(OSError):
        there = {path.name for path in _place.path.parent.iterdir()}
        for number in range(processes_started()):
            if str(number) not in there:
                return f"process {number} never came"
    return None


def forget_the_others() -> None:
    """Remove what is left of a run that has lost a process."""
    if _place is not None:
        shutil.rmtree(_place.path.parent, ignore_errors=True)


def _folder() -> Path:
    """Return a folder that the processes of one launcher agree on, and no other run's."""
    # SLURM gives a step its own number; another launcher is known by its process and by when that began.
    parent = 0 if "SLURM_STEP_ID" in os.environ else os.getppid()
    facts = [platform.node(), str(parent), _started(parent)]
    facts += [os.environ.get(key, "") for key in _ENVIRONMENT]
    name = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"dnamamba-{os.getuid()}-{name}"


def _all_on_this_machine() -> bool:
    machines = os.environ.get("SLURM_STEP_NUM_NODES", os.environ.get("SLURM_NNODES"))
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return machines == "1"
    return os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE")


def _started(process: int) -> str:
    """Return when a process was started, where the system says so: numbers are used again."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _lives(path: Path) -> bool:
    """Return whether a process holds the lock on a file."""
    with path.open("r+", encoding="utf-8") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _remove_empty(own: Path) -> None:
    """Remove the folders of runs whose processes were all killed."""
    for folder in own.parent.glob(f"dnamamba-{os.getuid()}-*"):
        with suppress(OSError):
            old = time.time() - folder.stat().st_mtime > _OLD
            if folder != own and old and not any(map(_lives, folder.iterdir())):
                shutil.rmtree(folder)
