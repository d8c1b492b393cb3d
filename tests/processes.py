"""`python -m dnamamba.<command>` in a process of its own, without the seconds that torch and Lightning take.

A server has imported both and forks, so that a command begins at once. Its arguments, folder, environment,
output, signals and exit status are its own, as those of a process that Python starts. What is read when a
library is imported (`OMP_NUM_THREADS`) is the server's. Processes that a command starts begin as ever.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["lightning", "matplotlib.pyplot", "hydra", "rich.console"])


class Command:
    """A running command, with the methods of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        new_session: bool = False,
    ) -> None:
        self.args = ["python", "-m", module, *arguments]
        self._said: tuple[list[str], list[str]] = ([], [])
        pipes = [os.pipe() for _ in self._said]
        whole = {**os.environ, **(environment or {})}
        given = (module, arguments, str(folder or Path.cwd()), whole, new_session, [end for _, end in pipes])
        self._process = _Started(target=_become, args=given)
        self._process.start()
        self._readers = []
        for (read_end, write_end), said in zip(pipes, self._said, strict=True):
            os.close(write_end)
            reader = threading.Thread(target=_read, args=(read_end, said), daemon=True)
            reader.start()
            self._readers.append(reader)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The status, minus the number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As Popen does: to a process that has ended, none."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Its output and error output, once it and all who share them have ended."""
        for end in (self._process, *self._readers):
            end.join(timeout)
            if end.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        out, err = ("".join(said) for said in self._said)
        return out, err


class _Started(_SERVER.Process):  # type: ignore[name-defined,misc]
    """A process whose last argument, a list of file descriptors, goes along: sent while it is started."""

    def __getstate__(self) -> dict[str, Any]:
        *others, descriptors = self._args
        return self.__dict__ | {"_args": (*others, [DupFd(number) for number in descriptors])}


def _become(
    module: str,
    arguments: tuple[str, ...],
    folder: str,
    environment: dict[str, str],
    new_session: bool,
    ends: list[DupFd],
) -> None:
    """Run a module as Python's `-m` does."""
    if new_session:
        os.setsid()
    for number, end in enumerate(ends, start=1):
        own = end.detach()
        os.dup2(own, number)
        os.close(own)
    # Those of the server know its own files.
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w") for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _read(number: int, said: list[str]) -> None:
    with open(number, encoding="utf-8") as pipe:
        said.append(pipe.read())


def run(
    module: str, *arguments: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    command = Command(module, *arguments, folder=folder, environment=environment)
    out, err = command.communicate()
    assert command.returncode is not None
    return subprocess.CompletedProcess(command.args, command.returncode, out, err)
