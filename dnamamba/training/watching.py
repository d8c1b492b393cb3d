"""Processes of one machine watch each other: where one ends, no other waits for it for ever.

NCCL does not see that a process of the same machine is gone. Whoever waits for it on the GPU waits for
minutes, and runs no Python meanwhile. Lightning's own observer ends the others with SIGKILL, so that no line
says why.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dnamamba.neighbours import absent, forget_the_others, gone

if TYPE_CHECKING:
    import lightning

FIRST = "DNAMAMBA_FIRST_PROCESS"  # the number of the process that starts Lightning's others, for these
_PERIOD = 0.5  # seconds between two looks
_LATE = 45.0  # seconds after which a process that has not come, before all have gathered, won't
_GRACE = 3.0  # seconds that a process is given to learn of it from its backend, and to end by itself
_LIGHTNINGS = "child-process-observer"  # the name of its thread


@contextmanager
def watched(
    trainer: lightning.Trainer,
    gathered: threading.Event,
    message: Callable[[str], str],
    clean: Callable[[], None],
) -> Iterator[None]:
    """End this process with status 1 where one of its run has failed and it can't end by itself.

    The first process of a machine watches those that Lightning started; they, and those that torchrun or
    SLURM started, watch what started them, and these each other.

    Args:
        trainer: of the run.
        gathered: is set once all processes have found each other.
        message: the line to print, of how the process ended.
        clean: ends the processes that are left, and lets go of what this one has.
    """
    parent = _parent(trainer)

    others_lost = lost_neighbour(gathered)

    def lost() -> str | None:
        _dismiss_lightnings()
        return _lost(trainer, parent) or others_lost()

    with ending_if_lost(lost, message, clean):
        yield


def lost_neighbour(gathered: threading.Event) -> Callable[[], str | None]:
    """Return what tells how another process of this machine was lost, from now on.

    Args:
        gathered: is set once all processes have found each other.
    """
    began = time.monotonic()

    def lost() -> str | None:
        late = not gathered.is_set() and time.monotonic() > began + _LATE
        return gone() or (absent() if late else None)

    return lost


@contextmanager
def ending_if_lost(
    lost: Callable[[], str | None], message: Callable[[str], str], clean: Callable[[], None]
) -> Iterator[None]:
    """End this process with status 1 where another has ended and this one does not notice by itself.

    Args:
        lost: how the other ended; None while all are well.
        message: the line to print.
        clean: lets go of what this process has.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_PERIOD):
            how = lost()
            if how is None:
                continue
            if not done.wait(_GRACE):
                clean()
                forget_the_others()
                print(f"dnamamba: error: {message(how)}", file=sys.stderr, flush=True)
                os._exit(1)
            return

    threading.Thread(target=watch, daemon=True, name="dnamamba-watch").start()
    try:
        yield
    finally:
        done.set()


def _parent(trainer: lightning.Trainer) -> int:
    """Return the process that has started this one; of Lightning's the first, which may be gone already."""
    from lightning.fabric.plugins.environments import LightningEnvironment  # takes seconds

    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.local_rank == 0:
        os.environ[FIRST] = str(os.getpid())
    elif isinstance(environment, LightningEnvironment) and FIRST in os.environ:
        return int(os.environ[FIRST])
    return os.getppid()


def _lost(trainer: lightning.Trainer, parent: int) -> str | None:
    """Return how a process ended that this one watches; None while all are well."""
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        status = process.poll()
        if status:
            return f"signal {-status}" if status < 0 else f"status {status}"
    if trainer.local_rank > 0 and os.getppid() != parent:
        return "no first process"
    return None


def _dismiss_lightnings() -> None:
    for thread in threading.enumerate():
        if thread.name == _LIGHTNINGS:
            thread._child_processes = []  # type: ignore[attr-defined]
