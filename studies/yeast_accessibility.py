"""Predict the accessibility of yeast chromatin on a chromosome that was held out; nothing is downloaded.

    python studies/yeast_accessibility.py FRAGMENTS --out FOLDER [--accelerator gpu] [--steps 600] [--model RUN]

FRAGMENTS is `test/yeast_500k_SRR1822137.bedpe.gz` of the repository macs3-project/MACS (BSD licence):
500,000 fragments of ATAC-seq of S. cerevisiae (SRA run SRR1822137, Schep et al., Genome Research 25:1757,
2015) on the assembly that comes with this package. The signal of a base is how many fragments end within 25
bases of it: Tn5 cuts where no nucleosome is. chrXII is left out, since a third of all fragments lie there,
most of them in its ribosomal genes. The package's model has seen neither chrV (validation) nor chrVI (test).

Leaves ends.bedgraph; the run's folder `run`; and results.csv: Pearson, Spearman and error on chrVI, of the
model and of the simple models that a run fits.
"""

import argparse
import csv
import gzip
import json
from pathlib import Path

import numpy as np

from dnamamba import FinetuneTrainConfig, Finetuning, Genome, get_alphabet
from dnamamba.data.embedded import YEAST_FASTA
from dnamamba.datasets.tracks import TracksConfig
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.config import TrainerConfig
from dnamamba.training.tuned import Pooling

NEAR = 25  # bases on either side of a fragment's end
LEFT_OUT = ("chrXII", "chrM")
BIN = 64
METRICS = ("pearson", "spearman", "rmse")


def ends(path: Path, lengths: dict[str, int]) -> dict[str, np.ndarray]:
    """Return for each base of each record how many fragments end within `NEAR` bases of it.

    Args:
        path: fragments, as rows of record, start and end.
        lengths: bases of each record that counts.

    Raises:
        SystemExit: a fragment ends past its record: the genome is another assembly.
    """
    steps = {name: np.zeros(length + 1, dtype=np.int64) for name, length in lengths.items()}
    with gzip.open(path, "rt") as rows:
        for row in rows:
            name, start, end = row.split()[:3]
            if name not in steps:
                continue
            if int(end) > lengths[name]:
                raise SystemExit(
                    f"{path}: a fragment ends at {end} of {name}, which has {lengths[name]} bases"
                )
            for place in (int(start), int(end) - 1):
                steps[name][max(0, place - NEAR)] += 1
                steps[name][min(lengths[name], place + NEAR + 1)] -= 1
    return {name: np.cumsum(step[:-1]) for name, step in steps.items()}


def write_bedgraph(signal: dict[str, np.ndarray], path: Path) -> None:
    """Write runs of equal values, zeros too."""
    with path.open("w") as file:
        for name, values in signal.items():
            changes = np.flatnonzero(np.diff(values)) + 1
            starts, stops = [0, *changes.tolist()], [*changes.tolist(), len(values)]
            for start, stop in zip(starts, stops, strict=True):
                file.write(f"{name}\t{start}\t{stop}\t{values[start]}\n")


def rows_of(results: dict[str, dict[str, dict[str, float]]]) -> list[list[object]]:
    """Return a row per model: its name and `METRICS` on the test."""

    def row(name: str, test: dict[str, dict[str, float]]) -> list[object]:
        return [name, *(test[key]["value"] for key in METRICS)]

    simple = [row(name, scores["test"]) for name, scores in results["baselines"].items()]  # type: ignore[arg-type]
    return [row("model", results["test"]), *simple]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("fragments", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--model", help="default: the package's yeast model")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    genome = Genome(YEAST_FASTA, get_alphabet("dna"))
    track = options.out / "ends.bedgraph"
    lengths = {name: length for name, length in genome.lengths.items() if name not in LEFT_OUT}
    write_bedgraph(ends(options.fragments, lengths), track)
    data = TracksConfig(
        fasta=str(YEAST_FASTA),
        tracks={"atac": str(track)},
        bin_size=BIN,
        loss="negative_binomial",
        alphabet="dna",
        max_length=2048,
        batch_size=8,
        valid=["chrV"],
        test=["chrVI"],
    )
    train = FinetuneTrainConfig(
        seed=options.seed,
        max_steps=options.steps,
        global_batch_size=8,
        learning_rate=4e-3,
        validate_every=max(10, options.steps // 6),
        checkpoint_every=options.steps,
        log_every=20,
    )
    precision = "bf16-mixed" if options.accelerator == "gpu" else "32-true"
    run = Finetuning(
        options.out / "run",
        data,
        options.model,
        Pooling(context="both", conv=2),
        TaskConfig(),
        train=train,
        trainer=TrainerConfig(options.accelerator, precision=precision),
    )
    run.run()
    results = json.loads((options.out / "run" / "metrics.json").read_text())
    with (options.out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", *METRICS))
        writer.writerows(rows_of(results))


if __name__ == "__main__":
    main()
