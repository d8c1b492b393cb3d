"""A process of a run that has failed ends the others of its machine in one line, whatever they wait for."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.processes import Command

# What Lightning's launcher does, and a wait that no exception ends: as one for a GPU.
PROGRAM = """
import os, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace
from lightning.fabric.strategies.launchers.subprocess_script import _launch_process_observer
from dnamamba.training import watching

def run(procs, local_rank, seconds, path):
    strategy = SimpleNamespace(launcher=SimpleNamespace(procs=procs))
    trainer = SimpleNamespace(strategy=strategy, local_rank=local_rank)
    def clean():
        for process in procs:
            process.kill()
    with watching.watched(trainer, lambda how: f"lost by {how}", clean):
        Path(path + ".next").write_text(" ".join(str(process.pid) for process in procs) or str(os.getpid()))
        os.rename(path + ".next", path)
        time.sleep(seconds)
    print("ended by itself", flush=True)

def first(others, seconds, path):
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    procs = [subprocess.Popen(sleeps) for _ in range(others)]
    _launch_process_observer(procs)
    run(procs, 0, seconds, path)
"""


def pids(path: Path) -> list[int]:
    """The numbers that a program writes as it begins to wait."""
    while not path.exists():
        time.sleep(0.05)
    return [int(word) for word in path.read_text().split()]


@pytest.mark.timeout(60)
def test_first_process_ends_in_one_line_and_takes_the_others_along(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    process = Command("-c", f"{PROGRAM}first(2, 60, {str(path)!r})")
    lost, _ = pids(path)
    os.kill(lost, signal.SIGKILL)
    began = time.monotonic()
    output, errors = process.communicate(timeout=40)  # until the other, whose pipes they are too, has ended
    assert (process.returncode, output, errors) == (1, "", "dnamamba: error: lost by signal 9\n")
    assert time.monotonic() - began < 15


@pytest.mark.timeout(60)
def test_first_process_that_ends_by_itself_in_time_is_left_alone(tmp_path: Path) -> None:
    """Lightning's observer, which looks every five seconds, would have killed it."""
    path = tmp_path / "pids"
    process = Command("-c", f"{PROGRAM}first(1, 6.5, {str(path)!r})")
    (lost,) = pids(path)
    time.sleep(4.5)
    os.kill(lost, signal.SIGKILL)
    output, errors = process.communicate(timeout=40)
    assert (process.returncode, output, errors) == (0, "ended by itself\n", "")


@pytest.mark.timeout(60)
def test_other_process_ends_in_one_line_when_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    child = f"{PROGRAM}run([], 1, 60, {str(path)!r})"
    parent = Command(
        "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", new_session=True
    )
    pids(path)
    os.kill(parent.pid, signal.SIGKILL)
    output, errors = parent.communicate(timeout=40)  # the pipes are the second's too
    assert (output, errors) == ("", "dnamamba: error: lost by no first process\n")
