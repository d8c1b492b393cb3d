"""Run the ablations of the Mamba paper (section 4.6) side by side in a given time, and make a table of them.

    python studies/ablations.py --out logs/ablations --seconds 540
    python studies/ablations.py --out logs/ablations --names mamba_s6 selective_none --seeds 0 1 2

The same command again resumes where it stopped. Names are the rows `ablation/...` of conf/paper.yaml; what
follows `--` goes to every run. Leaves in OUT a folder per run, a log per worker, and ablations.csv: name,
seed, bits per base and perplexity on validation and test, steps, and seconds of training.
"""

import argparse
import csv
import json
import multiprocessing
import os
import queue
import time
from pathlib import Path
from typing import Any

import torch

from dnamamba.commands.experiments import paper
from dnamamba.commands.pretrain import pretrain
from dnamamba.config import composed
from dnamamba.errors import UserError

GROUP = "ablation/"


def work(gpu: str, jobs: Any, out: Path, log: Path, more: list[str]) -> None:
    """Run jobs, (name, seed), on one GPU until none is left.

    Args:
        gpu: its number; empty for none.
        jobs: a queue that several workers share.
        out: takes a folder per run.
        log: takes what the runs print.
        more: settings of every run.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # nothing has asked for a GPU yet
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    while True:
        try:
            name, seed = jobs.get_nowait()
        except queue.Empty:
            return
        settings = [f"experiment={GROUP}{name}", f"train.seed={seed}", "ckpt_path=auto", *more]
        try:
            pretrain(composed("pretrain", settings), out / f"{name}_{seed}")
        except UserError as error:
            print(f"{name} {seed}: {error}", flush=True)


def table(out: Path, names: list[str], seeds: list[int]) -> list[dict[str, Any]]:
    """Return a row for each run that has ended."""
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for name in names:
            path = out / f"{name}_{seed}" / "results.json"
            if path.is_file():
                found = json.loads(path.read_text())
                bits = found["bits_per_base"]
                row = {"name": name, "seed": seed, "valid_bits": bits["valid"], "test_bits": bits["test"]}
                row |= {"valid_perplexity": 2 ** bits["valid"], "test_perplexity": 2 ** bits["test"]}
                rows.append(row | {"steps": found["steps"], "seconds": found["training_seconds"]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    known = [name.removeprefix(GROUP) for name in paper() if name.startswith(GROUP)]
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540, help="that the whole call may take")
    parser.add_argument("--names", nargs="+", default=known, choices=known, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--per-gpu", type=int, default=4, help="runs at a time on a GPU")
    parser.add_argument("more", nargs="*", help="settings of every run, after --")
    options = parser.parse_args()
    until, out = time.monotonic() + options.seconds, options.out
    out.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    jobs: Any = context.Queue()
    for seed in options.seeds:
        for name in options.names:
            if not (out / f"{name}_{seed}" / "results.json").is_file():
                jobs.put((name, seed))
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = (named or ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    workers = [
        context.Process(target=work, args=(gpu, jobs, out, out / f"worker_{gpu}_{i}.log", options.more))
        for i in range(options.per_gpu)
        for gpu in gpus
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
    for worker in workers:
        worker.kill()
    rows = table(out, options.names, options.seeds)
    if rows:
        with (out / "ablations.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for row in rows:
        print(
            row["name"],
            row["seed"],
            f"{row['valid_perplexity']:.4f} {row['test_perplexity']:.4f}",
            row["seconds"],
        )


if __name__ == "__main__":
    main()
