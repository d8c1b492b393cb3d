"""Kill commands at random moments, run them again, and compare every file with those of a whole run.

`python -m tests.robustness.killing NUMBER SEED FOLDER COMMAND...` prints the counts of each command as JSON.
torch is imported once: each run is a fork of this process.
"""

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
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dnamamba.data.embedded import YEAST_MODEL

RUNS = 4  # of one command, at most, of which all but the last may be killed
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
STEPS = [
    *("train.max_steps=6", "train.validate_every=2", "train.checkpoint_every=2", "train.log_every=1"),
    *("train.global_batch_size=4", "data.batch_size=4", "ckpt_path=auto", "hydra.run.dir=run"),
]
COMMANDS = {
    "pretrain": [
        *(*STEPS, "data.fasta=g.fa", "model.d_model=8", "model.n_layer=1", "data.max_length=16"),
        *("data.valid_windows=4", "data.markov_orders=[0]", "data.valid=[b]", "data.test=[c]"),
    ],
    "finetune": [
        *(*STEPS, "model=scratch", "scratch.d_model=8", "scratch.n_layer=1"),
        *("data.table=t.csv", "task.bootstrap=5"),
    ],
    "score": ["vcf=v.vcf", "fasta=g.fa", "window=32", "out=out.vcf"],
    "embed": [f"model={YEAST_MODEL}", "fasta=g.fa", "bed=r.bed", "batch_size=4", "out=out.npz"],
}


@dataclass
class Counts:
    """What came of the kills.

    Attributes:
        kills: processes that were killed.
        before: of them, those that no run had finished before: the next had something to do.
        failures: files that differ, are missing or are left over; or how a run ended.
    """

    kills: int = 0
    before: int = 0
    failures: list[str] = field(default_factory=list)


def inputs(folder: Path) -> None:
    """The files that every command reads, in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = random.Random(3)
    records = {name: "".join(draw.choices("ACGT", k=600)) for name in "abc"}
    (folder / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    rows = [f"{''.join(draw.choices('ACGT' if i % 2 else 'AACGTT', k=30))},{i % 2}x" for i in range(60)]
    (folder / "t.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    (folder / "r.bed").write_text("".join(f"{'abc'[i % 3]}\t{10 * i}\t{10 * i + 60}\n" for i in range(40)))
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for place in range(100, 500, 8):
        ref = records["a"][place - 1]
        lines.append(f"a\t{place}\t.\t{ref}\t{'CGTA'['ACGT'.index(ref)]}\t.\t.\t.")
    (folder / "v.vcf").write_text("\n".join(lines) + "\n")


def run(command: str, folder: Path, *, event: int = 0, seconds: float = 0) -> tuple[int, int]:
    """Run a command in a child of this process, which dies at a moment if one is given.

    Args:
        command: its name.
        folder: of its inputs and outputs.
        event: the number of the file event in `folder` before which it dies; 0 for none.
        seconds: after which it dies; 0 for never.

    Returns:
        How it ended, as `os.waitstatus_to_exitcode` says it, and how many file events there were.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(command, folder, event, seconds, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        events = len(pipe.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), events


def _child(command: str, folder: Path, event: int, seconds: float, pipe: int) -> None:
    status = 70
    try:
        os.chdir(folder)
        log = os.open("../log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
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
        sys.argv = [f"dnamamba-{command}", *COMMANDS[command]]
        if seconds:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends a process as SIGKILL does
            signal.setitimer(signal.ITIMER_REAL, seconds)
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
    """Every file of a folder, without what a clock has written in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = _content(path, folder)
    return found


def _content(path: Path, folder: Path) -> Any:
    if path.suffix == ".ckpt":
        checkpoint = torch.load(path, weights_only=True)
        # Lightning's counters of what one process did.
        return {key: _plain(value) for key, value in checkpoint.items() if key not in ("epoch", "loops")}
    data = path.read_bytes().replace(os.fsencode(folder), b"FOLDER")
    if path.name in ("results.json", "metrics.json"):
        return re.sub(rb'"training_seconds": [0-9.]+', b"", data)
    if path.name == "metrics.csv":
        rows = csv.DictReader(io.StringIO(data.decode()))
        return [{key: value for key, value in row.items() if "second" not in key} for row in rows]
    return data


def _plain(value: Any) -> Any:
    """A value that can be compared: tensors as their bits."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().view(-1).view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def kill(command: str, number: int, seed: int, home: Path) -> Counts:
    """Kill a command at `number` random moments and compare with a run that was not.

    Half of the moments are before a random file event in the run's folder, half are at a random time.
    """
    counts, draw = Counts(), random.Random(f"{command} {seed}")
    folder = home / "whole"
    inputs(folder)
    began = time.perf_counter()
    status, events = run(command, folder)
    seconds = time.perf_counter() - began
    assert status == 0, (home / "log").read_text()
    whole = contents(folder)
    folder = home / "killed"
    while counts.kills < number:
        inputs(folder)
        moments = []
        for left in reversed(range(draw.randint(2, RUNS))):
            moment: dict[str, Any] = {}
            if left and counts.kills < number:
                by_event = draw.random() < 0.5
                moment = (
                    {"event": draw.randint(1, events)} if by_event else {"seconds": draw.random() * seconds}
                )
            status, _ = run(command, folder, **moment)
            moments.append(f"{moment or 'to the end'}: {status}")
            if status not in (-signal.SIGKILL, -signal.SIGALRM):
                break
            counts.kills += 1
        _judge(counts, command, folder, whole, status, moments, home)
    return counts


def _judge(
    counts: Counts,
    command: str,
    folder: Path,
    whole: dict[str, Any],
    status: int,
    moments: list[str],
    home: Path,
) -> None:
    said = (home / "log").read_text()
    # A kill after the last file has its name: the next run says so.
    finished = status == 1 and ("nothing is left to do" in said or "is there already" in said)
    counts.before += not finished
    if status != 0 and not finished:
        counts.failures.append(f"{command}: {moments}: {said[-600:]}")
    found = contents(folder)
    wrong = [name for name in {*found, *whole} if found.get(name) != whole.get(name)]
    if wrong:
        counts.failures.append(f"{command}: {moments}: {', '.join(sorted(wrong))}")


def main() -> None:
    """Print the counts of each command."""
    number, seed, home, *commands = sys.argv[1:]
    for name in commands:
        importlib.import_module(f"dnamamba.{name}")
        importlib.import_module(f"dnamamba.commands.{name}")
    homes = {command: Path(home).resolve() / command for command in commands}
    counts = {command: asdict(kill(command, int(number), int(seed), homes[command])) for command in commands}
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
