"""The processes of a run: which one this is, and how it ends without harm to files and to the others."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dnamamba.errors import LEFT_ALONE, Interrupted, Terminated
from dnamamba.shortages import reasons

_ENDING = (signal.SIGTERM, *LEFT_ALONE)


def end_whole() -> None:
    """Raise where SIGTERM, a closed terminal or a batch system would end this process with half a file.

    What a shell or a scheduler lets it ignore, such as nohup's SIGHUP, stays ignored; a process that this one
    forks ends as it would without.
    """
    main = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() != main:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in _ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(signal.Signals(number))

    for number in _ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def may_take(number: signal.Signals) -> bool:
    """Return whether a stop signal is ours to handle: not ignored, and nobody else's, as an alarm may be."""
    handler = signal.getsignal(number)
    ours = getattr(handler, "__module__", None) or ""
    return number not in LEFT_ALONE or handler == signal.SIG_DFL or ours.startswith("dnamamba.")


@contextmanager
def stops_as_such() -> Iterator[None]:
    """Raise a stop by a signal again, where a library that it interrupted raised an error of its own."""
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        stop = next((each for each in reasons(error) if isinstance(each, KeyboardInterrupt)), None)
        if stop is None:
            raise
        raise stop from None


def leave_the_other_processes() -> None:
    """End torch's threads between processes while Python lives: one that holds a tensor can abort it."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def process_number() -> int:
    """Return which process of a run this is, started by Lightning, torchrun or SLURM; 0 where it is alone."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def processes_started() -> int:
    """Return how many processes of a run torchrun, srun or Lightning started; 1 where this one is alone."""
    return max(int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
