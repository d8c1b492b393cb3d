"""Train the synthetic tasks of the Mamba paper for some seeds at once, in a given time.

    python studies/synthetic.py --out logs/synthetic --seconds 540
    python studies/synthetic.py --out logs/synthetic --experiments induction_heads_small -- trainer=cpu

The same command again resumes every run where it stopped. Every experiment and seed is a process of its own,
shared out over the GPUs that CUDA_VISIBLE_DEVICES names: models as small as these are bound by launches, and
several share a GPU. When the time is nearly over the runs are stopped, which leaves a checkpoint, and each is
tested at every length of its experiment, from the checkpoint if it is not at its end. What follows `--` goes
to every run.

Leaves in OUT a folder per run; accuracy.csv: every run at every length; curves.csv: accuracy on validation by
step; speed.csv: steps and seconds of this call; and a picture of both tables per experiment.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from dnamamba.checkpoint import load, read_checkpoint
from dnamamba.commands.experiments import published
from dnamamba.commands.settings import data_config
from dnamamba.models import LanguageModel
from dnamamba.objectives.answers import AnswersMeter
from dnamamba.reports.figures import read_metrics, save_figure

EXPERIMENTS = ("induction_heads", "selective_copying")
SAVING = 15  # seconds that a stopped run may take to save
AT_A_TIME = 1 << 20  # symbols of a test batch
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """A run of one experiment from one seed."""

    experiment: str
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.out / f"{self.experiment}_{self.seed}"

    @property
    def who(self) -> dict[str, Any]:
        """What a row begins with."""
        return {"experiment": self.experiment, "seed": self.seed}

    @property
    def steps(self) -> int:
        """Steps of the run's checkpoint; 0 without one."""
        path = self.folder / "checkpoints" / "last.ckpt"
        return int(read_checkpoint(path)["global_step"]) if path.is_file() else 0

    def command(self, more: list[str]) -> list[str]:
        """Return what begins or resumes the run."""
        return [
            *(sys.executable, "-m", "dnamamba.pretrain", f"experiment=synthetic/{self.experiment}"),
            *(f"train.seed={self.seed}", f"hydra.run.dir={self.folder}", "ckpt_path=auto", *more),
        ]


def started(command: list[str], gpu: str | None, log: Path) -> subprocess.Popen[bytes]:
    """Start a process whose words go to the end of a file."""
    environment = os.environ | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    with log.open("ab") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def ended(processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait so long for processes to end by themselves."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        time.sleep(0.2)


def trained(jobs: list[Job], gpus: list[str | None], seconds: float, more: list[str]) -> Rows:
    """Train for so long; return the steps and seconds of each run."""
    began = time.monotonic()
    before = [job.steps for job in jobs]
    processes = []
    for number, job in enumerate(jobs):
        log = job.out / f"{job.folder.name}.log"
        processes.append(started(job.command(more), gpus[number % len(gpus)], log))
    ended(processes, seconds)
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    ended(processes, SAVING)
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
    spent = round(time.monotonic() - began, 1)
    rows: Rows = []
    for job, first in zip(jobs, before, strict=True):
        now = job.steps - first
        rows.append(job.who | {"steps": job.steps, "steps_of_this_call": now, "seconds": spent})
    return rows


def tested(job: Job, device: str) -> None:
    """Test a run's last checkpoint at every length of its experiment; write tested.json into its folder."""
    configuration = OmegaConf.load(job.folder / "config.yaml")
    assert isinstance(configuration, DictConfig)
    configuration.data.batch_size = AT_A_TIME // configuration.data.max_length
    data = data_config(configuration.data).build(
        0, global_batch_size=configuration.data.batch_size, max_steps=1, world_size=1
    )
    model, meter = load(job.folder / "checkpoints" / "last.ckpt").to(device).eval(), AnswersMeter().to(device)
    assert isinstance(model, LanguageModel)
    with torch.inference_mode():
        for batch in dict(data.held_out_loaders())["test"]:
            meter.update(model, {name: tensor.to(device) for name, tensor in batch.items()})
    meter.compute()
    found = {"steps": job.steps, "rows": [row._asdict() for row in meter.scored]}
    (job.folder / "tested.json").write_text(json.dumps(found))


def write(rows: Rows, path: Path) -> None:
    """Write a table, where there is anything to write."""
    if rows:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def reported(jobs: list[Job], out: Path) -> None:
    """Write accuracy.csv, curves.csv and the pictures of all runs that are there."""
    accuracy: Rows = []
    curves: Rows = []
    for job in jobs:
        steps = job.steps
        if (job.folder / "tested.json").is_file():
            found = json.loads((job.folder / "tested.json").read_text())
            steps = found["steps"]
            accuracy += [
                job.who | {"steps": found["steps"]} | row | {"accuracy": row["right"] / row["answers"]}
                for row in found["rows"]
            ]
        if (job.folder / "metrics.csv").is_file():
            curves += [
                job.who | {"step": int(row["step"]) + 1, "accuracy": row["val/accuracy"]}
                for row in read_metrics(job.folder / "metrics.csv")
                if "val/accuracy" in row and row["step"] < steps  # not of the scores in the end
            ]
    write(accuracy, out / "accuracy.csv")
    write(curves, out / "curves.csv")
    for experiment in dict.fromkeys(job.experiment for job in jobs):
        for rows, along, name in ((accuracy, "length", "lengths"), (curves, "step", "curve")):
            own = [row for row in rows if row["experiment"] == experiment]
            if own:
                save_figure(figure(own, along, f"synthetic/{experiment}"), out / f"{experiment}_{name}.png")
    for row in accuracy:
        print(*row.values(), sep="\t")


def figure(rows: Rows, along: str, experiment: str) -> Figure:
    """Plot accuracy in per cent, a line for each seed."""
    made = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = made.subplots()
    for seed in dict.fromkeys(row["seed"] for row in rows):
        line = [row for row in rows if row["seed"] == seed]
        percent = [100 * row["accuracy"] for row in line]
        axes.plot([row[along] for row in line], percent, marker="o", markersize=3, label=f"seed {seed}")
    if along == "length":
        axes.set_xscale("log", base=2)
        places = sorted({row[along] for row in rows})
        axes.set_xticks(places, [f"2^{place.bit_length() - 1}" for place in places])
    axes.set(xlabel=along, ylabel="accuracy, %", ylim=(0, 103))
    axes.set_title(f"{experiment}; {published(experiment) or 'not in the paper'}", loc="left", fontsize=9)
    axes.grid(color="0.9")
    axes.legend(frameon=False, fontsize=8)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540, help="that the whole call may take")
    parser.add_argument(
        "--testing", type=float, default=60, help="seconds of them that are kept for the tests"
    )
    parser.add_argument("--experiments", nargs="+", default=list(EXPERIMENTS), help="of synthetic/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--report", action="store_true", help="only make tables and pictures")
    parser.add_argument("--test", metavar="RUN", help="only test this one run of --out, here")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="of the tests"
    )
    parser.add_argument("more", nargs="*", help="settings of every run, after --")
    options = parser.parse_args()
    began, out = time.monotonic(), options.out
    jobs = [Job(experiment, seed, out) for experiment in options.experiments for seed in options.seeds]
    if options.test is not None:
        (job,) = (job for job in jobs if job.folder.name == options.test)
        tested(job, options.device)
        return
    if options.report:
        reported(jobs, out)
        return
    out.mkdir(parents=True, exist_ok=True)
    names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    gpus: list[str | None] = [*names.split(",")] if names else [None]
    left = [job for job in jobs if not (job.folder / "results.json").is_file()]
    speed = trained(left, gpus, options.seconds - options.testing - SAVING, options.more) if left else []
    write(speed, out / "speed.csv")
    tests = []
    for number, job in enumerate(job for job in jobs if job.steps):
        command = [
            sys.executable,
            __file__,
            "--out",
            str(out),
            "--test",
            job.folder.name,
            "--device",
            options.device,
        ]
        command += ["--experiments", *options.experiments, "--seeds", *map(str, options.seeds)]
        tests.append(started(command, gpus[number % len(gpus)], out / f"{job.folder.name}.log"))
    ended(tests, options.seconds - (time.monotonic() - began) - 2)
    for process in tests:
        if process.poll() is None:
            process.kill()
    reported(jobs, out)


if __name__ == "__main__":
    main()
