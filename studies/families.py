"""Which model for what: the families at one size, equal bases of human DNA, then fine-tuned on labelled sets.

    python studies/chromosome_training.py prepare CHR20.fa.gz CHRX.fa.gz --data DATA       # no GPU needed
    python studies/families.py run --fasta DATA/chromosomes.fa.gz --tables promoters.tsv splice.tsv \\
        --mammals DNA/encode --lengths 1024 16384 --gpus 0 1
    python studies/families.py report

Pretrains Mamba, Caduceus-PS, Transformer++ and HyenaDNA, about 1.4M parameters each, on the records 20 and X
with windows of each of `--lengths`, and validates on the record `held_out`. Causal models predict the next
base, Caduceus masked ones: its perplexity is another number and can't be compared. Then every model is
fine-tuned on every table (those of `studies/aligned_sets.py`, or any with a split), and on the five mammals
of the ENCODE regions below `--mammals` (ENm001 trains, ENm002 tests). Of Mamba each set is also tested with
predictions averaged over both strands; leads are over Mamba with the same seed. A run that was stopped is
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
import numpy as np

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
# That in which they wait for a GPU: the longest first.
ORDER = ("caduceus", "mamba", "hyena", "transformer")
SPECIES = ("human", "mouse", "dog", "cow", "monodelphis")
COLUMNS = (
    *("family", "length", "width", "blocks", "bases", "seconds", "valid_bits", "perplexity", "best_markov"),
    *("set", "strand", "seed", "metric", "value", "low", "high", "best_baseline"),
    *("lead_over_mamba", "lead_low", "lead_high"),
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


def pretraining(family: str, length: int, options: argparse.Namespace) -> list[str]:
    """Return the settings of a pretraining: those of the family, and what is equal for all."""
    steps = math.ceil(options.bases / options.bases_per_step)
    return [
        *FAMILIES[family],
        f"data.fasta={options.fasta}",
        "data.train=[20,X]",
        "data.valid=[held_out]",
        f"data.max_length={length}",
        f"data.valid_bases={options.bases_per_step}",
        f"train.bases_per_step={options.bases_per_step}",
        f"data.bases_per_batch={min(options.bases_per_step, options.bases_per_batch)}",
        f"train.max_steps={steps}",
        f"train.validate_every={steps}",
        f"train.checkpoint_every={max(1, steps // 4)}",
        "ckpt_path=auto",
    ]


def tunings(family: str, options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the settings of the fine-tunings of a family by name, SET.STRAND.SEED."""
    sets = {table.stem: [f"data.table={table}"] for table in options.tables}
    if options.mammals:
        sets = {"mammals": mammals(options)} | sets
    strands = ("forward", "both") if family == "mamba" else ("forward",)
    return {
        f"{name}.{strand}.{seed}": [*settings, f"decoder.strand={strand}", f"train.seed={seed}"]
        for seed in range(options.seeds)
        for strand in strands
        for name, settings in sets.items()
    }


def mammals(options: argparse.Namespace) -> list[str]:
    """Return the settings of the suite `mammals`, windows of 2^10 bases."""
    files = {
        # The first by name: the index of a FASTA file may stand beside it.
        name: {species: min((options.mammals / region).glob(f"{species}.*"), key=str) for species in SPECIES}
        for name, region in (("species", "ENm001"), ("test_species", "ENm002"))
    }
    return [
        "data=species",
        "data.split=file",
        *(f"++data.{name}.{species}={path}" for name, of in files.items() for species, path in of.items()),
        "data.remove_n=true",
        "data.reverse_complement=true",
        "data.draw=base",
        "data.max_length=1024",
        "data.batch_size=64",
        "data.valid_windows=300",
        "data.test_windows=1500",
        f"train.max_steps={options.mammal_steps}",
        "train.global_batch_size=64",
        "train.learning_rate=1e-3",
        f"train.validate_every={math.ceil(options.mammal_steps / 5)}",
        "decoder.mode=mean",
    ]


def one_family(family: str, length: int, options: argparse.Namespace, gpu: str) -> None:
    """Pretrain a family on windows of one length, then fine-tune it on each set, several at a time."""
    folder = options.out / f"{family}_{length}"
    trainer = "trainer=gpu" if gpu else "trainer=cpu"
    if not command("pretrain", [*pretraining(family, length, options), trainer], folder, gpu):
        return
    runs = tunings(family, options)

    def tune(name: str) -> None:
        settings = [f"model={folder / 'model'}", trainer, *runs[name], "ckpt_path=auto"]
        command("finetune", settings, options.out / f"{folder.name}.{name}", gpu)

    with ThreadPoolExecutor(options.together) as pool:
        list(pool.map(tune, runs))


def run(options: argparse.Namespace) -> None:
    """Run the families side by side, as many at a time as there are GPUs named."""
    free: SimpleQueue[str] = SimpleQueue()
    for gpu in options.gpus:
        free.put(gpu)

    def on_a_gpu(job: tuple[str, int]) -> None:
        gpu = free.get()
        try:
            one_family(*job, options, gpu)
        finally:
            free.put(gpu)

    jobs = [(family, length) for length in options.lengths for family in ORDER if family in options.families]
    with ThreadPoolExecutor(len(options.gpus)) as pool:
        list(pool.map(on_a_gpu, jobs))


def numbers(folder: Path) -> list[dict[str, object]]:
    """Return the rows of one pretrained model: one for each fine-tuning, or one without."""
    results = json.loads((folder / "results.json").read_text())
    config = json.loads((folder / "model" / "config.json").read_text())["model"]
    family, _, length = folder.name.partition("_")
    masked = family == "caduceus"
    bits = results["bits_per_masked_base" if masked else "bits_per_base"]["valid"]
    row: dict[str, object] = {
        "family": family,
        "length": int(length),
        "width": config["d_model"],
        "blocks": config["n_layer"],
        "bases": results["bases"],
        "seconds": results["training_seconds"],
        "valid_bits": round(bits, 4),
        "perplexity": round(2**bits, 4),
        "best_markov": "" if masked else round(min(results["markov_bits_per_base"]["valid"].values()), 4),
    }
    rows = []
    for path in sorted(folder.parent.glob(f"{folder.name}.*.*.*/metrics.json")):
        tuned = json.loads(path.read_text())
        name, strand, seed = path.parent.name.split(".")[1:]
        reached = {each: value["test"]["accuracy"]["value"] for each, value in tuned["baselines"].items()}
        simple = {each: value for each, value in reached.items() if value is not None}
        best = max(simple, key=lambda each: simple[each])
        found = {key: round(tuned["test"]["accuracy"][key], 4) for key in ("value", "low", "high")}
        rows.append(
            row
            | {"set": name, "strand": strand, "seed": seed, "metric": "accuracy"}
            | found
            | {"best_baseline": f"{best}: {simple[best]:.4f}"}
            | lead(path.parent, path.parent.parent / f"mamba_{length}.{name}.forward.{seed}")
        )
    return rows or [row]


def lead(folder: Path, over: Path) -> dict[str, object]:
    """Return how much more often a run is right than another, with a paired bootstrap's 95 % interval."""
    ours, theirs = (correct(each) for each in (folder, over))
    if folder == over or not ours or ours.keys() != theirs.keys():
        return {}
    gains = np.array([ours[name] - theirs[name] for name in ours], dtype=float)
    draws = np.random.default_rng(0).integers(len(gains), size=(2000, len(gains)))
    low, high = np.quantile(gains[draws].mean(1), [0.025, 0.975]).round(4)
    return {"lead_over_mamba": gains.mean().round(4), "lead_low": low, "lead_high": high}


def correct(folder: Path) -> dict[str, bool]:
    """Return by id whether each test sequence was predicted rightly; {} where there are no predictions."""
    path = folder / "predictions.tsv"
    if not path.is_file():
        return {}
    with path.open() as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["id"]: row["predicted"] == row["label"] for row in rows if row["split"] == "test"}


def report(out: Path) -> None:
    """Gather what is finished into families.csv, and draw the fine-tuned models' scores."""
    rows = [row for path in sorted(out.glob("*_*/results.json")) for row in numbers(path.parent)]
    with (out / "families.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    print((out / "families.csv").read_text())
    draw(rows, out / "families.png")


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Draw each fine-tuned model's score with its interval, a panel per set; seeds stand side by side."""
    sets = sorted({str(row["set"]) for row in rows if "set" in row})
    wide = max(1, len(sets))
    figure, axes = plt.subplots(1, wide, figsize=(4.2 * wide, 3.4), squeeze=False)
    for ax, name in zip(axes[0], sets, strict=False):
        mine = [row for row in rows if row.get("set") == name]
        models = list(dict.fromkeys(model_name(row) for row in mine))
        for row in mine:
            value, low, high = (float(str(row[key])) for key in ("value", "low", "high"))
            place = models.index(model_name(row)) + 0.15 * int(str(row["seed"]))
            color = f"C{ORDER.index(str(row['family']))}"
            ax.errorbar(place, value, [[value - low], [high - value]], fmt="o", capsize=3, color=color)
        best = max(float(str(row["best_baseline"]).split(": ")[1]) for row in mine)
        ax.axhline(best, color="0.6", linestyle="--")
        ax.set_xticks(range(len(models)), models, rotation=35, ha="right", fontsize=8)
        ax.set_title(name)
        ax.set_ylabel("accuracy, test; dashed: best simple model", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def model_name(row: dict[str, object]) -> str:
    """Return `family 2^N`, and that both strands are averaged."""
    both = ", both strands" if row["strand"] == "both" else ""
    return f"{row['family']} 2^{int(str(row['length'])).bit_length() - 1}{both}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("run", "report"))
    parser.add_argument("--fasta", type=Path, default=Path("logs/chromosomes/data/chromosomes.fa.gz"))
    parser.add_argument("--tables", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("logs/families"))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024], help="bases of a window")
    parser.add_argument("--bases", type=float, default=2**28, help="to pretrain on")
    parser.add_argument("--bases-per-step", type=int, default=2**19)
    parser.add_argument("--bases-per-batch", type=int, default=2**19, help="that fit the memory")
    parser.add_argument("--mammals", type=Path, help="folder of ENm001/ and ENm002/, a file per species")
    parser.add_argument("--mammal-steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2, help="of each fine-tuning")
    parser.add_argument("--together", type=int, default=4, help="fine-tunings at a time on a GPU")
    parser.add_argument("--gpus", nargs="+", default=["0"], help="an empty name is the CPU")
    options = parser.parse_args()
    run(options) if options.mode == "run" else report(options.out)


if __name__ == "__main__":
    main()
