"""Seconds from command to report: fine-tune on 10,000 sequences of 300 bases, three epochs, one GPU.

    python benchmarks/labelled_minute.py MODEL --out FOLDER [--trainer cpu] [OVERRIDE ...]

Half of the sequences are random and half have a motif at a random place. `python -m dnamamba.finetune` runs
as a user would start it, first with the simple models it is compared with and then without
(`task.baselines=false`); each line it prints is shown with the seconds since its start. Leaves seconds.csv.
OVERRIDEs go to both runs.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

MOTIF = "TGACGTCATATAAAAG"
LENGTH, EPOCHS = 300, 3


def write_table(path: Path, sequences: int) -> None:
    """Write a table of `sequence` and `label`; half of the rows have the motif."""
    rng = np.random.default_rng(0)
    letters = np.array(list("ACGT"))[rng.integers(4, size=(sequences, LENGTH))]
    places = rng.integers(LENGTH - len(MOTIF) + 1, size=sequences)
    for row, place in zip(letters[::2], places[::2], strict=True):
        row[place : place + len(MOTIF)] = list(MOTIF)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sequence", "label"])
        writer.writerows(("".join(row), "random" if i % 2 else "motif") for i, row in enumerate(letters))


def timed(command: list[str]) -> tuple[float, int]:
    """Run a command, show its lines with the seconds since its start; returns its seconds and exit status."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{time.perf_counter() - began:7.1f}  {line.rstrip()}", flush=True)
    return time.perf_counter() - began, process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trainer", default="gpu")
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--only", choices=("true", "false"), help="one of the two values of task.baselines")
    options, overrides = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "sequences.csv"
    write_table(table, options.sequences)
    rows = []
    for baselines in (options.only,) if options.only else ("true", "false"):
        command = [sys.executable, "-m", "dnamamba.finetune", f"model={options.model}", f"data.table={table}"]
        command += [f"trainer={options.trainer}", f"train.epochs={EPOCHS}", f"task.baselines={baselines}"]
        command += [f"hydra.run.dir={options.out / f'baselines_{baselines}'}", *overrides]
        seconds, status = timed(command)
        print(f"RESULT task.baselines={baselines}: {seconds:.1f} s, exit status {status}", flush=True)
        rows.append((options.sequences, EPOCHS, baselines, round(seconds, 1), status))
        with (options.out / "seconds.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("sequences", "epochs", "baselines", "seconds", "status"))
            writer.writerows(rows)


if __name__ == "__main__":
    main()
