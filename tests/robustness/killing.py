"""Kill commands at random moments, run them again, and compare every file with those of a whole run.

`python -m tests.robustness.killing NUMBER SEED FOLDER COMMAND...` prints the counts of each command as JSON.
What commands import is imported once: each run is a fork of this process.
"""

import contextlib
import csv
import importlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dnamamba.seals import SEAL, read_results
from dnamamba.training.resume import Resumed
from dnamamba.training.row_sums import SUMS
from tests.robustness.killed import COMMANDS, inputs, only_the_source_at_hand

RUNS = 4  # of one command, at most, of which all but the last may be killed
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
LATE = 5  # seconds that a killed command's own child may take to go
PRELOADED = (
    *("lightning", "matplotlib.pyplot", "matplotlib.backends.backend_agg", "hydra", "rich.console"),
    *("dnamamba.kernels.causal_conv1d.numba_op", "dnamamba.kernels.mamba_block.numba_op"),
    *("pyarrow.parquet", "h5py", "zarr", "pyBigWig"),
)


@dataclass
class Counts:
    """What came of the kills.

    Attributes:
        kills: processes that were killed.
        before: folders whose last run had something to do, no killed one having finished.
        failures: files that differ, are missing or are left over; or how a run ended.
    """

    kills: int = 0
    before: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class Whole:
    """A run that was not killed.

    Attributes:
        files: their contents.
        events: on files of its folder.
        seconds: that it took.
    """

    files: dict[str, Any]
    events: int
    seconds: float


def run(
    command: str, overrides: list[str], folder: Path, *, event: int = 0, seconds: float = 0
) -> tuple[int, int]:
    """Run a command in a child of this process, which is killed at a moment if one is given.

    Args:
        command: its name.
        overrides: its arguments.
        folder: of its inputs and outputs, and of its cache.
        event: the number of the file event in `folder` before which it dies; 0 for none.
        seconds: after which it is killed; 0 for never.

    Returns:
        How it ended, as `os.waitstatus_to_exitcode` says it, and how many file events there were.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(command, overrides, folder, event, writing)
    os.close(writing)
    killer = threading.Timer(seconds or 3600, os.kill, (child, signal.SIGKILL))
    killer.start()
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # its number is still its own
    killer.cancel()
    killer.join()
    with os.fdopen(reading, "rb") as pipe:
        events = len(pipe.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), events


def _child(command: str, overrides: list[str], folder: Path, event: int, pipe: int) -> None:
    status = 70
    try:
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        log = os.open("../log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
        # This process may be a fork itself, whose streams have files of their own.
        sys.stdout = sys.stderr = os.fdopen(log, "w")
        seen = 0

        def hook(name: str, args: Any) -> None:
            nonlocal seen
            if name not in EVENTS or not isinstance(args[0], str | os.PathLike):
                return
            path = os.path.abspath(os.fspath(args[0]))
            if not path.startswith(str(folder)):
                return
            seen += 1
            os.write(pipe, b".")
            if seen == event:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        sys.argv = [f"dnamamba-{command}", *overrides]
        importlib.import_module(f"dnamamba.{command}").main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def contents(folder: Path) -> dict[str, Any]:
    """Every file of a folder, hidden ones and the cache included, without what a clock has written in it."""
    others = folder / "cache" / "pocl"  # an OpenCL that torch may find, and its cache of that
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and others not in path.parents]
    found: dict[str, Any] = {}
    for path in files:
        # Of a cache without what says when its source was copied there: two versions are two of one name.
        cached = path.parent == folder / "cache" / "dnamamba"
        name = re.sub("^(.*?-[0-9a-f]{16})-[0-9a-f]{16}", r"\1", path.name) if cached else path.name
        found.setdefault(str(path.with_name(name).relative_to(folder)), []).append(_content(path))
    return found


def _content(path: Path) -> Any:
    if path.suffix == ".ckpt":
        checkpoint = torch.load(path, weights_only=True)
        # Lightning's counters of what one process did.
        return {key: _plain(value) for key, value in checkpoint.items() if key not in ("epoch", "loops")}
    data = path.read_bytes()
    if path.name == SUMS:
        return _rows_summed(path)
    if path.suffix == ".json":
        clock = rb'"(training_)?seconds": ([0-9.]+|null)|"sha256": \{[^}]*\}'  # and sums over it
        return re.sub(clock, b"", data), _sealed(path)
    if path.name in ("metrics.csv", "benchmark.tsv"):
        rows = csv.DictReader(io.StringIO(data.decode()), delimiter="," if path.suffix == ".csv" else "\t")
        return [{key: value for key, value in row.items() if "second" not in key} for row in rows]
    return data


def _sealed(path: Path) -> list[str]:
    """The names that the checksums of a run's results are of, after verifying them all."""
    if path.name not in ("results.json", "metrics.json"):
        return []
    names = {*json.loads(path.read_bytes()).get(SEAL, {})}
    read_results(path, "", tuple(names - {path.name}))
    return sorted(names)


def _rows_summed(path: Path) -> dict[str, int]:
    """The numbers of rows that go with checkpoints, after verifying those of the last; some hold seconds."""
    steps = torch.load(path.with_name("last.ckpt"), weights_only=True)["global_step"]
    Resumed(path.with_name("last.ckpt"), steps, unvalidated=False, ended=True).metrics()
    return {done: each["rows"] for done, each in json.loads(path.read_bytes()).items()}


def _plain(value: Any) -> Any:
    """A value that can be compared: tensors as their bits."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().view(-1).view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def kill(command: str, number: int, seed: int, home: Path, ways: int = 100) -> Counts:
    """Kill a command at `number` random moments and compare with a run that was not.

    Half of the moments are before a random file event in the run's folder, half are at a random time of the
    command's, uniformly.

    Args:
        command: its name.
        number: kills.
        seed: of the moments.
        home: takes the folder in which all runs are, so that paths within files are equal, and their log.
        ways: of the command's in `COMMANDS`, how many to take.
    """
    counts, draw, folder, round_ = Counts(), random.Random(f"{command} {seed}"), home / "run", 0
    inputs(home / "inputs")
    several = COMMANDS[command][:ways]
    wholes: list[Whole] = []
    while counts.kills < number:
        overrides = several[round_ % len(several)]
        if round_ < len(several):
            wholes.append(_whole(command, overrides, folder, home))
        whole = wholes[round_ % len(several)]
        _begin(folder, home)
        moments = []
        for left in reversed(range(draw.randint(2, RUNS))):
            moment: dict[str, Any] = {}
            if left and counts.kills < number:
                by_event = draw.random() < 0.5
                moment = (
                    {"event": draw.randint(1, whole.events)}
                    if by_event
                    else {"seconds": draw.random() * whole.seconds}
                )
            status, _ = run(command, overrides, folder, **moment)
            moments.append(f"{moment or 'to the end'}: {status}")
            if status != -signal.SIGKILL:
                break
            counts.kills += 1
        _judge(counts, f"{command} {overrides}: {moments}", folder, whole.files, status, home)
        (home / "counts.json").write_text(json.dumps(asdict(counts)))  # so far
        round_ += 1
    return counts


def _begin(folder: Path, home: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home / "inputs", folder)  # with their times


def _whole(command: str, overrides: list[str], folder: Path, home: Path) -> Whole:
    _begin(folder, home)
    began = time.perf_counter()
    status, events = run(command, overrides, folder)
    seconds = time.perf_counter() - began
    assert status == 0, (home / "log").read_text()
    return Whole(contents(folder), events, seconds)


def _judge(counts: Counts, what: str, folder: Path, whole: dict[str, Any], status: int, home: Path) -> None:
    said = (home / "log").read_text()
    # A kill after the last file has its name: the next run says so.
    finished = status == 1 and ("nothing is left to do" in said or "is there already" in said)
    counts.before += not finished
    if status != 0 and not finished:
        counts.failures.append(f"{what}: {said[-600:]}")
    late = time.monotonic() + LATE
    while time.monotonic() < late and {*contents(folder)} - {*whole}:
        time.sleep(0.1)
    found = contents(folder)
    wrong = [name for name in {*found, *whole} if found.get(name) != whole.get(name)]
    if wrong:
        counts.failures.append(f"{what}: {', '.join(sorted(wrong))}")


def main() -> None:
    """Print the counts of each command."""
    number, seed, home, *commands = sys.argv[1:]
    for name in commands:
        importlib.import_module(f"dnamamba.{name}")
    for name in (*PRELOADED, *(f"dnamamba.commands.{command}" for command in commands)):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    only_the_source_at_hand()
    homes = {command: Path(home).resolve() / command for command in commands}
    counts = {command: asdict(kill(command, int(number), int(seed), homes[command])) for command in commands}
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
