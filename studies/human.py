"""Pretraining on 125 Mb of a human genome: perplexity by length and by size, compared with the paper's.

    python studies/human.py prepare CHR20.fa.gz CHRX.fa.gz --out human
    python studies/human.py run --data human --out logs/human --gpus 0,1
    python studies/human.py report --out logs/human

`prepare` needs no GPU and makes human_125m.fa.gz (36 MB) and human_125m.bed. `run` takes each of RUNS, one
at a time on every GPU named; it may be stopped (`--minutes` does) and given again: what is done stays done,
and what was begun resumes. `report` makes the table and the two pictures of what is there. `throughput`
compares the Lightning run with the bare training step, at 2^10 and 2^20.
"""

import argparse
import csv
import gzip
import math
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from queue import Empty, Queue

from rich.console import Console

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
# 4 * 2^20 bases for validation and the rest for the test: what follows the centromere of X, without gaps.
VALID, TEST = "X:61682012-65876316", "X:65876316-69999930"
BASES = 69_999_930  # of a chromosome, the rest is left away: where TEST ends


def prepare(chromosomes: list[Path], folder: Path) -> None:
    """Write one FASTA, upper case, chrX cut behind the test interval, and its interval file.

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
    """Start one run on one GPU, in `folder`, logged next to it; stop it, with a checkpoint, at `end`."""
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
    """Run every run that is not done yet, one at a time on each GPU."""
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
    """Pack what a run left, without checkpoint and weights: NAME.tar.gz next to its folder."""
    beside = out / f".{name}.tar.gz"
    with tarfile.open(beside, "w:gz") as archive:
        for part in ("config.yaml", "metrics.csv", "results.json", "learning_curve.png", "model/config.json"):
            archive.add(out / name / part, arcname=f"{name}/{part}")
        archive.add(out / f"{name}.log", arcname=f"{name}.log")
    beside.replace(out / f"{name}.tar.gz")


def throughput(data: Path, out: Path, gpu: str) -> None:
    """Compare a Lightning run with the bare step of benchmarks/training_step.py, at 2^10 and 2^20."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    from human_report import bases_per_second
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="one FASTA and its interval file")
    command.add_argument("chromosomes", nargs=2, type=Path)
    command.add_argument("--out", type=Path, default=Path("human"))
    for name, about in (
        ("run", "pretrain"),
        ("throughput", "Lightning compared with the bare step"),
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
        from human_report import report

        report(options.out)


if __name__ == "__main__":
    main()
