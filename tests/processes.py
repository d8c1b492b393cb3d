"""`python -m dnamamba.<command>` in a process of its own, without the seconds that torch and Lightning take.

A server has imported both, and dnamamba, and forks, so that a command begins at once. Its arguments, folder,
environment, PYTHONPATH, output, signals and exit status are its own, as those of a process that Python
starts. What is read when a library is imported (`OMP_NUM_THREADS`) is the server's. Processes that a command
starts begin as ever.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from importlib.machinery import PathFinder
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.preloaded"])


class Command:
    """A running command, with the methods of `subprocess.Popen` that tests use.

    Args:
        module: what is run, or `-c`: the first argument is then a program's text.
        arguments: of the command.
        folder: its working directory; this process's by default.
        environment: what it has besides this process's.
        new_session: whether it leads a group of its own.
        stdout: a file descriptor to write to, instead of what `communicate` returns.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        new_session: bool = False,
        stdout: int | None = None,
    ) -> None:
        self.args = ["python", *(["-m"] if module != "-c" else []), module, *arguments]
        self._said: tuple[list[str], list[str]] = ([], [])
        pipes = [os.pipe() for _ in self._said]
        whole = {**os.environ, **(environment or {})}
        ends = [stdout or pipes[0][1], pipes[1][1]]
        given = (module, arguments, str(folder or Path.cwd()), whole, new_session, ends)
        serve()
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


def serve() -> None:
    """Start the server unless it runs. It imports this package, wherever the tests were started."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), before]))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


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
    """Run a module as Python's `-m` does, or a text as `-c` does."""
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
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    _leave_other_builds()
    sys.argv = [module, *arguments]
    if module == "-c":
        text = sys.argv.pop(1)
        exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _leave_other_builds() -> None:
    """Forget what the server has loaded of dnamamba, where this process's own path leads to another one."""
    loaded = sys.modules["dnamamba"]
    found = PathFinder.find_spec("dnamamba", sys.path)
    if found is not None and found.origin == loaded.__file__:
        # As if loaded now: files that are older than the process are not the run's own.
        sys.modules["dnamamba.config"].STARTED = time.time() - 1  # type: ignore[attr-defined]
        return
    for name in [name for name in sys.modules if name.partition(".")[0] in ("dnamamba", "data_prep")]:
        del sys.modules[name]


def slurm(rank: int, port: int) -> dict[str, str]:
    """The environment that `srun` gives one of a job's two processes."""
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    of_two = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_STEP_NUM_TASKS": "2"}
    place = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
    return {**job, **of_two, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run_two(
    module: str, *arguments: str, folder: Path, strategy: str = "ddp"
) -> "subprocess.CompletedProcess[str]":
    """Run a training of two processes to its end, as SLURM starts them; their outputs one after the other."""
    two = (*arguments, "trainer.devices=2", f"trainer.strategy={strategy}")
    port = free_port()
    started = [Command(module, *two, folder=folder, environment=slurm(rank, port)) for rank in range(2)]
    said = [command.communicate() for command in started]
    failed = [command.returncode for command in started if command.returncode]
    out, err = ("".join(each) for each in zip(*said, strict=True))
    return subprocess.CompletedProcess(started[0].args, int(failed[0] or 0) if failed else 0, out, err)


def _read(number: int, said: list[str]) -> None:
    with open(number, encoding="utf-8") as pipe:
        said.append(pipe.read())


def run(
    module: str,
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 240,
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    command = Command(module, *arguments, folder=folder, environment=environment)
    out, err = command.communicate(timeout)
    assert command.returncode is not None
    return subprocess.CompletedProcess(command.args, command.returncode, out, err)
