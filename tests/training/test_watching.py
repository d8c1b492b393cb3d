"""A process of a run that has failed ends the others of its machine in one line, whatever they wait for."""

import os
import signal
import time
from pathlib import Path

import pytest

from dnamamba import neighbours
from tests.processes import Command, free_port

# What Lightning's launcher does, and a wait that no exception ends: as one for a GPU.
PROGRAM = """
import os, subprocess, sys, threading, time
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
    with watching.watched(trainer, threading.Event(), lambda how: f"lost by {how}", clean):
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


# A run that waits for another process of its machine before anything connects them.
WAITING = """
import sys, time
from pathlib import Path
from threading import Event
from dnamamba.neighbours import arrive, leave
from dnamamba.training import watching

watching._LATE = 2.0
arrive()
path, seconds, ends_well = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "well"
with watching.ending_if_lost(watching.lost_neighbour(Event()), lambda how: f"lost: {how}", lambda: None):
    path.touch()
    time.sleep(seconds)
if ends_well:
    leave()
"""


def waiting(folder: Path, *ways: tuple[float, str]) -> list[Command]:
    """Processes as one launcher starts them, once all are there."""
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_PORT": str(free_port()),
        "TMPDIR": str(folder),
    }
    started = []
    for rank, (seconds, end) in enumerate(ways):
        arguments = (WAITING, str(folder / f"is_there_{rank}"), str(seconds), end)
        started.append(Command("-c", *arguments, environment={**common, "RANK": str(rank)}))
    while not all((folder / f"is_there_{rank}").exists() for rank in range(len(ways))):
        time.sleep(0.05)
    return started


@pytest.mark.timeout(60)
@pytest.mark.parametrize("victim", [0, 1])
def test_killed_before_they_meet_ends_the_other_in_one_line(victim: int, tmp_path: Path) -> None:
    started = waiting(tmp_path, (50, ""), (50, ""))
    killed, other = started[victim], started[1 - victim]
    began = time.monotonic()
    killed.kill()
    output, errors = other.communicate(timeout=40)
    expected = (1, "", f"dnamamba: error: lost: process {victim} is gone\n")
    assert (other.returncode, output, errors) == expected
    assert time.monotonic() - began < 15
    assert not [*tmp_path.glob("dnamamba-*")]


@pytest.mark.timeout(60)
def test_process_whose_neighbour_never_comes_ends_in_one_line(tmp_path: Path) -> None:
    (alone,) = waiting(tmp_path, (50, ""))
    expected = ("", "dnamamba: error: lost: process 1 never came\n")
    assert (alone.communicate(timeout=40), alone.returncode) == (expected, 1)


@pytest.mark.timeout(60)
def test_process_that_has_done_its_part_is_not_missed(tmp_path: Path) -> None:
    first, second = waiting(tmp_path, (0, "well"), (4.5, "well"))
    assert (first.communicate(timeout=40), first.returncode) == (("", ""), 0)
    assert (second.communicate(timeout=40), second.returncode) == (("", ""), 0)
    assert not [*tmp_path.glob("dnamamba-*")]


def test_job_that_is_queued_again_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM keeps its number and that of its step: files of a killed attempt say that a process is gone."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    first = neighbours._folder()
    assert neighbours._folder() == first
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert neighbours._folder() != first
