"""Which model for what: the families at one size, equal bases of human DNA, then fine-tuned on labelled sets.

    python studies/chromosome_training.py prepare CHR20.fa.gz CHRX.fa.gz --data DATA       # no GPU needed
    python studies/families.py run --fasta DATA/chromosomes.fa.gz --tables promoters.tsv splice.tsv --gpus 0 1
    python studies/families.py report

Pretrains Mamba, Caduceus-PS, Transformer++ and HyenaDNA, about 1.4M parameters each, on chr20 and the first
61.7 Mb of chrX with windows of `--length` bases, and validates on the next 8.3 Mb. Causal models predict the
next base, Caduceus masked ones: its perplexity is another number and can't be compared. Then every model is
fine-tuned on every table (those of `studies/aligned_sets.py`, or any with a split). A run that was stopped is
resumed, one that is finished is not run again. Leaves families.csv, and families.png.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import matplotlib.pyplot as plt

# Learning rates: the paper's for Mamba, that of its authors for Caduceus; a quarter where attention or long
# convolutions take the place of the scan.
FAMILIES = {
    "mamba": ["model=paper_1m4", "train.learning_rate=8e-3"],
    "caduceus": [
        "model=caduceus_ps",
        "model.d_model=128",
        "model.n_layer=10",
        "objective=masked",
        "train.learning_rate=8e-3",
    ],
    "transformer": ["model=transformer_1m4", "train.learning_rate=2e-3"],
    "hyena": ["model=hyena_1m4", "train.learning_rate=2e-3"],
}
COLUMNS = (
    *("family", "length", "width", "blocks", "bases", "seconds", "valid_bits"),
    *("table", "metric", "value", "low", "high", "best_baseline"),
)


def command(name: str, arguments: list[str], folder: Path, gpu: str) -> bool:
    """Run a command of dnamamba if it has not ended well yet; return whether it has."""
    results = folder / ("results.json" if name == "pretrain" else "metrics.json")
    if not results.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        with (folder.parent / f"{folder.name}.log").open("a") as log:
            subprocess.run(
                [sys.executable, "-m", f"dnamamba.{name}", *arguments, f"hydra.run.dir={folder}"],
                env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        print(f"{folder.name}: {time.perf_counter() - began:.0f} s, ended {results.is_file()}", flush=True)
    return results.is_file()


def one_family(family: str, options: argparse.Namespace, gpu: str) -> None:
    """Pretrain a family, then fine-tune it on each table."""
    folder = options.out / f"{family}_{options.length}"
    steps = math.ceil(options.bases / options.bases_per_step)
    trainer = "trainer=gpu" if gpu else "trainer=cpu"
    pretraining = [
        *FAMILIES[family],
        trainer,
        f"data.fasta={options.fasta}",
        "data.train=[20,X]",
        "data.valid=[held_out]",
        f"data.max_length={options.length}",
        f"train.bases_per_step={options.bases_per_step}",
        f"data.bases_per_batch={min(options.bases_per_step, options.bases_per_batch)}",
        f"train.max_steps={steps}",
        f"train.validate_every={steps}",
        f"train.checkpoint_every={max(1, steps // 4)}",
        "ckpt_path=auto",
    ]
    if not command("pretrain", pretraining, folder, gpu):
        return
    for table in options.tables:
        tuned = [f"model={folder}", f"data.table={table}", trainer, "task.baselines=true"]
        command("finetune", tuned, options.out / f"{family}_{options.length}_{table.stem}", gpu)


def run(options: argparse.Namespace) -> None:
    """Run the families side by side, as many at a time as there are GPUs named."""
    free: SimpleQueue[str] = SimpleQueue()
    for gpu in options.gpus:
        free.put(gpu)

    def on_a_gpu(family: str) -> None:
        gpu = free.get()
        try:
            one_family(family, options, gpu)
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(len(options.gpus)) as pool:
        list(pool.map(on_a_gpu, options.families))


def numbers(folder: Path, length: int) -> list[dict[str, object]]:
    """Return the rows of one pretrained model: one for each table it was fine-tuned on, or one without."""
    results = json.loads((folder / "results.json").read_text())
    config = json.loads((folder / "model" / "config.json").read_text())["model"]
    row: dict[str, object] = {
        "family": folder.name.removesuffix(f"_{length}"),
        "length": length,
        "width": config["d_model"],
        "blocks": config["n_layer"],
        "bases": results["bases"],
        "seconds": results["training_seconds"],
        "valid_bits": round(results["bits_per_base"]["valid"], 4),
    }
    rows = []
    for path in sorted(folder.parent.glob(f"{folder.name}_*/metrics.json")):
        tuned = json.loads(path.read_text())
        name = "accuracy"
        found = {key: round(value, 4) for key, value in tuned["test"][name].items()}
        reached = {each: value["test"][name]["value"] for each, value in tuned["baselines"].items()}
        simple = {each: value for each, value in reached.items() if value is not None}
        best = max(simple, key=lambda each: simple[each])
        rows.append(
            {
                **row,
                "table": path.parent.name.removeprefix(f"{folder.name}_"),
                "metric": name,
                **{key: found[key] for key in ("value", "low", "high")},
                "best_baseline": f"{best}: {simple[best]:.4f}",
            }
        )
    return rows or [row]


def report(out: Path, length: int) -> None:
    """Gather what is finished into families.csv, and draw the fine-tuned models' scores."""
    finished = [folder.parent for folder in sorted(out.glob(f"*_{length}/results.json"))]
    rows = [row for folder in finished for row in numbers(folder, length)]
    with (out / "families.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    print((out / "families.csv").read_text())
    tables = sorted({str(row["table"]) for row in rows if "table" in row})
    figure, axes = plt.subplots(1, max(1, len(tables)), figsize=(4.2 * max(1, len(tables)), 3), squeeze=False)
    for ax, name in zip(axes[0], tables, strict=False):
        mine = [row for row in rows if row.get("table") == name]
        for place, row in enumerate(mine):
            value, low, high = (float(str(row[key])) for key in ("value", "low", "high"))
            ax.errorbar(place, value, [[value - low], [high - value]], fmt="o", capsize=4)
        ax.axhline(float(str(mine[0]["best_baseline"]).split(": ")[1]), color="0.6", linestyle="--")
        ax.set_xticks(range(len(mine)), [str(row["family"]) for row in mine], rotation=20)
        ax.set_title(name)
        ax.set_ylabel(f"{mine[0]['metric']}, test")
    figure.tight_layout()
    figure.savefig(out / "families.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("run", "report"))
    parser.add_argument("--fasta", type=Path, default=Path("logs/chromosomes/data/chromosomes.fa.gz"))
    parser.add_argument("--tables", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("logs/families"))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--length", type=int, default=1024, help="bases of a window")
    parser.add_argument("--bases", type=float, default=2**28, help="to pretrain on")
    parser.add_argument("--bases-per-step", type=int, default=2**19)
    parser.add_argument("--bases-per-batch", type=int, default=2**19, help="that fit the memory")
    parser.add_argument("--gpus", nargs="+", default=["0"], help="an empty name is the CPU")
    options = parser.parse_args()
    run(options) if options.mode == "run" else report(options.out, options.length)


if __name__ == "__main__":
    main()
