"""Pretraining on 125 Mb of a human genome: perplexity against length and against size, beside the paper's.

    python benchmarks/human.py prepare CHR20.fa.gz CHRX.fa.gz --out human
    python benchmarks/human.py run --data human --out logs/human --gpus 0,1
    python benchmarks/human.py report --out logs/human

`prepare` needs no GPU and makes human_125m.fa.gz (36 MB) and human_125m.bed. `run` takes each of RUNS, one
at a time on every GPU named; it may be stopped (`--minutes` does) and given again: what is done stays done,
and what was begun goes on. `report` makes the table and the two pictures of what is there. `throughput`
compares the Lightning run with the bare training step, at 2^10 and 2^20.
"""

import argparse
import csv
import gzip
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from queue import Empty, Queue

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
NAME = "human_125m"

# Name: experiment, further settings. By length 1,440 steps and three seeds, by size (_short) 960 and one.
SHORT = "_short"
SEEDS = (0, 1, 2)
BY_LENGTH = {10: "human_125m", 14: "human_125m_2p14", 17: "human_125m_2p17", 20: "human_125m_2p20"}
RUNS: dict[str, tuple[str, ...]] = {
    f"1m4_2p{power}_seed{seed}": (f"experiment=hg38/{experiment}", f"train.seed={seed}")
    for seed in SEEDS
    for power, experiment in sorted(BY_LENGTH.items(), reverse=True)
} | {
    "1m4_2p10_short": ("experiment=hg38/human_125m", "train.max_steps=960"),
    "700k_2p10_short": ("experiment=hg38/human_125m", "model=paper_700k", "train.max_steps=960"),
    "250k_2p10_short": ("experiment=hg38/human_125m", "model=paper_250k", "train.max_steps=960"),
}
# Gu and Dao 2023, figure 5, digitised: 1.4M by length (330 G bases), and at 2^10 by size (10 G bases).
PAPER_BY_LENGTH = {2**10: 2.895, 2**12: 2.876, 2**14: 2.866, 2**16: 2.869, 2**18: 2.863, 2**20: 2.862}
PAPER_BY_SIZE = {
    262_208: 3.075,
    683_424: 2.991,
    1_400_448: 2.925,
    3_525_696: 2.853,
    7_010_560: 2.804,
    19_287_936: 2.742,
    40_690_176: 2.706,
}
# 4 * 2^20 bases for validation and the rest for the test: what follows the centromere of X, without gaps.
VALID, TEST = "X:61682012-65876316", "X:65876316-69999930"
BASES = 69_999_930  # of a chromosome, the rest is left away: where TEST ends


def prepare(chromosomes: list[Path], folder: Path) -> None:
    """One FASTA, upper case, chrX cut behind the test stretch, and its interval file.

    The records are called 20 and X, as Ensembl and NCBI's GRCh37 name them.
    """
    from data_prep.intervals import main as intervals

    folder.mkdir(parents=True, exist_ok=True)
    fasta = folder / f"{NAME}.fa.gz"
    with gzip.open(fasta, "wb", compresslevel=9) as out:
        for path in chromosomes:
            with gzip.open(path, "rb") as text:
                out.write(next(text))
                left = BASES
                for line in text:
                    letters = line.strip().upper()[:left]
                    out.write(letters + b"\n" if letters else b"")
                    left -= len(letters)
    if intervals([str(fasta), str(folder / f"{NAME}.bed"), "--valid", VALID, "--test", TEST]):
        sys.exit(1)


def files_of(data: Path) -> tuple[str, str]:
    return f"data.fasta={(data / NAME).absolute()}.fa.gz", f"data.intervals={(data / NAME).absolute()}.bed"


def pretrain(settings: Iterable[str], folder: Path, gpu: str, end: float = math.inf) -> int:
    """One run on one GPU, in `folder`; its words go to a log beside. Stopped, with a checkpoint, at `end`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dnamamba.pretrain", *settings, f"hydra.run.dir={folder.absolute()}"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu, "PYTHONPATH": path, "COLUMNS": "160"}
    with folder.with_name(f"{folder.name}.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            return process.wait(None if end == math.inf else max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.terminate()
            return process.wait()


def run(
    data: Path, out: Path, gpus: list[str], names: list[str], minutes: float, settings: list[str]
) -> None:
    """Every run that is not done yet, one at a time on each GPU."""
    end = time.monotonic() + 60 * minutes
    console = Console(markup=False)
    waiting: Queue[str] = Queue()
    for name in names:
        if not (out / name / "results.json").exists():
            waiting.put(name)

    def work(gpu: str) -> None:
        while time.monotonic() < end:
            try:
                name = waiting.get_nowait()
            except Empty:
                return
            console.print(f"GPU {gpu}: {name} begins")
            status = pretrain(
                [*RUNS[name], *files_of(data), "ckpt_path=auto", *settings], out / name, gpu, end
            )
            console.print(
                f"GPU {gpu}: {name} " + ("is done" if status == 0 else f"failed, see {out / name}.log")
            )
            if status == 0:
                pack(out, name)

    workers = [threading.Thread(target=work, args=(gpu,)) for gpu in gpus]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def pack(out: Path, name: str) -> None:
    """What is worth carrying away of a run, without checkpoint and weights: NAME.tar.gz beside its folder."""
    beside = out / f".{name}.tar.gz"
    with tarfile.open(beside, "w:gz") as archive:
        for part in ("config.yaml", "metrics.csv", "results.json", "learning_curve.png", "model/config.json"):
            archive.add(out / name / part, arcname=f"{name}/{part}")
        archive.add(out / f"{name}.log", arcname=f"{name}.log")
    beside.replace(out / f"{name}.tar.gz")


def bases_per_second(folder: Path) -> float:
    """The median of what a run logged."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row.get("train/bases_per_second") for row in csv.DictReader(file)]
    return statistics.median(float(row) for row in rows if row)


def throughput(data: Path, out: Path, gpu: str) -> None:
    """The Lightning run beside the bare training step of benchmarks/training_step.py, at 2^10 and 2^20."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    from training_step import measure

    rows = []
    short = ("train.max_steps=60", "train.validate_every=1000", "train.log_every=10", "data.valid_windows=1")
    for power, experiment in ((10, "hg38/human_125m"), (20, "hg38/human_125m_2p20")):
        folder = out / f"throughput_2p{power}"
        shutil.rmtree(folder, ignore_errors=True)
        warmup = ("data.length_warmup.first_length=null", "data.length_warmup.steps=null")
        plain = (*warmup, "train.checkpoint_every=1000", "trainer.deterministic=false")
        if pretrain([f"experiment={experiment}", *files_of(data), *short, *plain], folder, gpu):
            sys.exit(f"the run failed, see {folder}.log")
        milliseconds, _, _ = measure("1.4M", 2 ** (20 - power), 2**power, False, 10)
        bare, lightning = 2**20 / milliseconds * 1000, bases_per_second(folder)
        rows.append([f"2^{power}", round(bare), round(lightning), round(lightning / bare, 4)])
        print(f"2^{power}: bare {bare:,.0f} bases/s, Lightning {lightning:,.0f}: {lightning / bare:.1%}")
    with (out / "throughput.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "bare_step_bases_per_second", "lightning_bases_per_second", "ratio"])
        writer.writerows(rows)


def results_of(out: Path) -> list[dict]:
    """A row a finished run, in the order of RUNS."""
    rows = []
    for name in RUNS:
        folder = out / name
        if not (folder / "results.json").exists():
            continue
        results = json.loads((folder / "results.json").read_text())
        model = json.loads((folder / "model" / "config.json").read_text())["model"]
        size, length, _ = name.split("_")
        rows.append(
            {
                "run": name,
                "model": f"{model['n_layer']} x {model['d_model']}",
                "parameters": {"250k": 262_208, "700k": 683_424, "1m4": 1_400_448}[size],
                "length": 2 ** int(length.removeprefix("2p")),
                "bases": results["bases"],
                "minutes": results["training_seconds"] / 60,
                "bases_per_second": bases_per_second(folder),
                "valid": 2 ** results["bits_per_base"]["valid"],
                "test": 2 ** results["bits_per_base"]["test"],
            }
        )
    return rows


def shown(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.4f}" if value < 100 else f"{value:,.0f}"


def show(title: str, rows: list[dict]) -> None:
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*map(shown, row.values()))
    Console(width=160).print(table)


def report(out: Path) -> None:
    """The tables, on the screen and of all runs as human.csv, and two pictures."""
    rows = results_of(out)
    if not rows:
        sys.exit(f"no finished run in {out}")
    show("perplexity a base (lower is better)", rows)
    with (out / "human.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    by_length = [row for row in rows if not row["run"].endswith(SHORT)]
    if by_length:
        show("means over seeds, and what a longer length changes", means(by_length))
    pictures(rows, out)


def means(rows: list[dict]) -> list[dict]:
    """A row a length: the mean perplexity, and the change from the next shorter length in percent.

    The change is that of each seed: up to where their lengths part, two runs of a seed are the same run. Its
    +- is the standard error over the seeds.
    """
    lengths = sorted({row["length"] for row in rows})
    found = []
    for shorter, length in zip([None, *lengths], lengths, strict=False):
        row: dict = {"length": length}
        for split in ("valid", "test"):
            values = by_seed(rows, length, split)
            row[split] = statistics.mean(values.values())
            row[f"{split} change, %"] = row[f"{split} +-"] = ""
            before = by_seed(rows, shorter, split)
            changes = [100 * (values[seed] / before[seed] - 1) for seed in values if seed in before]
            if changes:
                row[f"{split} change, %"] = f"{statistics.mean(changes):+.3f}"
            if len(changes) > 1:
                row[f"{split} +-"] = f"{statistics.stdev(changes) / math.sqrt(len(changes)):.3f}"
        found.append(row)
    return found


def by_seed(rows: list[dict], length: int | None, split: str) -> dict[str, float]:
    """Perplexity of a length on a split, by the seed of the run."""
    return {row["run"].rpartition("_")[2]: row[split] for row in rows if row["length"] == length}


def pictures(rows: list[dict], out: Path) -> None:
    """Perplexity against length and against size, of what was run."""
    by_size = [row for row in rows if row["run"].endswith(SHORT) and row["length"] == 2**10]
    by_length = [row for row in rows if not row["run"].endswith(SHORT)]
    for chosen, key, paper, label, of_paper, name in (
        (by_length, "length", PAPER_BY_LENGTH, "bases of context", "1.4M parameters, 330 G bases", "length"),
        (by_size, "parameters", PAPER_BY_SIZE, "parameters", "context 2^10, 10.5 G bases", "size"),
    ):
        if chosen:
            draw(chosen, key, paper, label, of_paper, out / f"perplexity_{name}.png")


def draw(rows: list[dict], key: str, paper: dict[int, float], label: str, of_paper: str, path: Path) -> None:
    """Ours, a dot a run and a line through the means, and the paper's: other data, other numbers of bases."""
    sys.path.insert(0, str(ROOT))
    from matplotlib.figure import Figure

    from dnamamba.figures import BASELINE, GRID, HELD_OUT, MUTED, SURFACE, TEXT, TRAINING, save_figure

    figure = Figure(figsize=(7.5, 4.6), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    axes.set_facecolor(SURFACE)
    budget = sum(row["bases"] for row in rows) / len(rows) / 1e9
    sizes = sorted({row[key] for row in rows})
    for split, name, color in (
        ("valid", f"ours, validation ({budget:.2g} G bases of 0.12 Gb)", HELD_OUT),
        ("test", "ours, test", TRAINING),
    ):
        average = [statistics.mean(row[split] for row in rows if row[key] == size) for size in sizes]
        axes.plot(sizes, average, color=color, linewidth=2, label=name)
        axes.plot([row[key] for row in rows], [row[split] for row in rows], "o", color=color, markersize=4)
        for size, value in zip(sizes, average, strict=True):
            axes.annotate(
                f"{value:.3f}",
                (size, value),
                (0, -14),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=TEXT,
            )
    axes.plot(
        list(paper),
        list(paper.values()),
        color=BASELINE,
        marker="s",
        linestyle="--",
        linewidth=1.5,
        label=f"paper, HG38, {of_paper} (digitised)",
    )
    axes.set_xscale("log", base=2 if key == "length" else 10)
    axes.margins(y=0.1)
    axes.set_xlabel(label, color=MUTED)
    axes.set_ylabel("perplexity a base", color=MUTED)
    axes.set_title(
        "Human chr20 and chrX (GRCh37), held-out part of chrX", loc="left", fontsize=10, color=TEXT
    )
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, length=0)
    figure.legend(loc="outside lower left", frameon=False, labelcolor=TEXT, fontsize=9)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="one FASTA and its interval file")
    command.add_argument("chromosomes", nargs=2, type=Path)
    command.add_argument("--out", type=Path, default=Path("human"))
    for name, about in (
        ("run", "pretrain"),
        ("throughput", "Lightning beside the bare step"),
        ("report", "table and pictures"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("--data", type=Path, default=Path("human"))
        command.add_argument("--out", type=Path, default=Path("logs/human"))
        command.add_argument("--gpus", default="0", help="such as 0,1")
        command.add_argument("--runs", default=",".join(RUNS), help="which, with commas")
        command.add_argument("--minutes", type=float, default=math.inf, help="stop then, with a checkpoint")
        command.add_argument("settings", nargs="*", help="further settings of every run")
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.chromosomes, options.out)
    elif options.command == "run":
        gpus, names = options.gpus.split(","), options.runs.split(",")
        run(options.data, options.out, gpus, names, options.minutes, options.settings)
    elif options.command == "throughput":
        options.out.mkdir(parents=True, exist_ok=True)
        throughput(options.data, options.out, options.gpus.split(",")[0])
    else:
        report(options.out)


if __name__ == "__main__":
    main()
