"""The wait for a run's other processes, which torch does where no Python handler of a signal runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dnamamba.errors import STOP_SIGNALS, UserError
from dnamamba.terminal import Console

if TYPE_CHECKING:  # commands that train nothing wait here too
    import lightning

_PATIENCE = 5.0  # seconds that Python is given to see a signal itself


@contextmanager
def ending_on_signals(
    gathered: threading.Event, asked: Callable[[], bool], clean: Callable[[signal.Signals], None]
) -> Iterator[None]:
    """End this process by a signal that comes before all processes have `gathered`.

    Signals wake a thread, which ends the process itself where Python has not seen the signal in five seconds.

    Args:
        gathered: is set once every process is there.
        asked: whether Python has seen a signal.
        clean: leaves no trace of a run that has not begun.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for number in os.read(reading, 64):
                if number not in STOP_SIGNALS or gathered.is_set():
                    continue
                done.wait(_PATIENCE)
                if done.is_set() or asked() or gathered.is_set():
                    continue
                found = signal.Signals(number)
                clean(found)
                print(f"dnamamba: stopped by {found.name} before every process was there", file=sys.stderr)
                sys.stderr.flush()
                os._exit(128 + found)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        os.write(writing, b"\0")
        thread.join()
        os.close(reading)
        os.close(writing)


def announce(trainer: lightning.Trainer, console: Console) -> None:
    """Say that a run waits for other machines, where they are to come, and how they are started.

    Raises:
        UserError: MASTER_PORT is not a port.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.num_nodes == 1 or environment is None or environment.creates_processes_externally:
        return
    port = os.environ.get("MASTER_PORT", "1")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UserError(f"MASTER_PORT: must be a port, 1 to 65535 (got {port!r})")
    where = f"{environment.main_address}:{environment.main_port}"
    console.print(
        f"waiting for {trainer.num_nodes - 1} other machine(s) at {where}: start the same command there with "
        f"MASTER_ADDR={environment.main_address} MASTER_PORT={environment.main_port} and NODE_RANK=1, 2, ...",
        soft_wrap=True,
    )
