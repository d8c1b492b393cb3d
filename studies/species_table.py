"""A table and a picture of the runs that `species.py` left, compared with 5-mers, chance and the paper.

    python studies/species_table.py FOLDER CSV PNG

Intervals are bootstraps over blocks of 2^17 bases of a locus, all species of a block together: windows
overlap, and resampling them one by one would make the intervals too narrow.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from species import TASKS

from dnamamba.reports.figures import BASELINE, GRID, HELD_OUT, MUTED, SURFACE, TEXT, TRAINING, save_figure

# Accuracies of a 5-mer logistic regression on the same sequences, by log2 of the length, in per cent.
FIVE_MERS = {"encode5": {10: 63.5, 13: 88.3}, "primates6": {10: 25.7, 13: 41.6}}
# Gu and Dao 2023, figure of section 4.3.3, Mamba 1.4M: five real apes, whole genomes, 10,240 steps.
PAPER = {10: 31.47, 12: 27.50, 14: 27.66, 16: 40.72, 18: 42.41, 20: 71.67}
BLOCK = 1 << 17
BOOTSTRAP = 2000


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    for argument in ("folder", "csv", "png"):
        parser.add_argument(argument, type=Path)
    options = parser.parse_args()
    rows = table(options.folder)
    if not rows:
        print(f"error: no finished run in {options.folder}", file=sys.stderr)
        return 1
    write_csv(rows, options.csv)
    save_figure(picture(rows), options.png)
    return 0


def table(folder: Path) -> list[dict[str, object]]:
    """Return a row per finished run."""
    rows: list[dict[str, object]] = []
    for task in TASKS:
        metrics = folder / task.name / "metrics.json"
        if not metrics.is_file():
            continue
        found = json.loads(metrics.read_text())
        right, blocks = outcomes(folder / task.name / "predictions.tsv")
        low, high = block_bootstrap(right, blocks)
        rows.append(
            {
                "task": task.group,
                "classes": len(task.species),
                "length": 1 << task.log2,
                "steps": found["steps"],
                "sequences_per_step": task.sequences,
                "strand": task.strand,
                "test_windows": right.size,
                "blocks": len(set(blocks)),
                "accuracy": f"{100 * right.mean():.2f}",
                "low": f"{100 * low:.2f}",
                "high": f"{100 * high:.2f}",
                "chance": f"{100 / len(task.species):.2f}",
                "five_mers": FIVE_MERS.get(task.group, {}).get(task.log2, ""),
                "paper": PAPER.get(task.log2, "") if task.group.startswith("apes") else "",
                "training_seconds": found["training_seconds"],
            }
        )
    return rows


def outcomes(predictions: Path) -> tuple[np.ndarray, list[str]]:
    """Return which test windows were classified correctly, bool [n], and each one's block of its locus."""
    right, blocks = [], []
    with predictions.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["split"] == "test":
                right.append(row["label"] == row["predicted"])
                # SPECIES:SPECIES|ID:START-END(STRAND), or with REGION/FILE: before the record.
                record, _, place = row["id"].rpartition(":")
                locus = record.partition("|")[2]
                blocks.append(f"{locus}:{int(place.partition('-')[0]) // BLOCK}")
    return np.array(right), blocks


def block_bootstrap(right: np.ndarray, blocks: list[str], seed: int = 0) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of the accuracy over draws of blocks with replacement."""
    names, block = np.unique(blocks, return_inverse=True)
    windows = np.bincount(block)
    hits = np.bincount(block, weights=right)
    drawn = np.random.default_rng(seed).integers(names.size, size=(BOOTSTRAP, names.size))
    accuracy = hits[drawn].sum(axis=1) / windows[drawn].sum(axis=1)
    low, high = np.quantile(accuracy, [0.025, 0.975])
    return float(low), float(high)


def write_csv(rows: list[dict[str, object]], path: Path) -> None:
    """Write the table to a file, and print it as Markdown."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print("| task | length | accuracy % | 95 % interval | chance | 5-mers | paper, 1.4M |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['task']} | {row['length']:,} | {row['accuracy']} | {row['low']} to {row['high']} | "
            f"{row['chance']} | {row['five_mers']} | {row['paper']} |"
        )


LABELS = {
    "encode5": "human, mouse, dog, cow, opossum",
    "primates6": "six primates",
    "primates6_closed": "six primates, a closed-form head",
    "apes4": "four real apes",
    "apes5": "with a SIMULATED bonobo",
}


def picture(rows: list[dict[str, object]]) -> Figure:
    """Draw accuracy against length: ENCODE left, apes right; with chance, 5-mers and the paper."""
    figure = Figure(figsize=(10, 5), layout="constrained", facecolor=SURFACE)
    panels = (
        ("ENCODE: trained on ENm001, tested on ENm002", ("encode5", "primates6", "primates6_closed")),
        ("great apes, chromosome 22, split by locus", ("apes4", "apes5")),
    )
    for axes, (title, groups) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.set_facecolor(SURFACE)
        for group, color, marker in zip(
            groups, (HELD_OUT, TRAINING, BASELINE), ("o", "s", "^"), strict=False
        ):
            of = [row for row in rows if row["task"] == group]
            if not of:
                continue
            x = np.array([int(str(row["length"])) for row in of])
            y, low, high = (
                np.array([float(str(row[key])) for row in of]) for key in ("accuracy", "low", "high")
            )
            axes.errorbar(
                x,
                y,
                yerr=[y - low, high - y],
                color=color,
                marker=marker,
                linewidth=2,
                capsize=3,
                label=LABELS[group],
            )
            chance = float(str(of[0]["chance"]))
            axes.axhline(chance, color=color, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(
                f"chance {chance:.1f}",
                (1.01, chance),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
                color=MUTED,
            )
            marks = {1 << log2: accuracy for log2, accuracy in FIVE_MERS.get(group, {}).items()}
            if marks:
                axes.plot(
                    list(marks),
                    list(marks.values()),
                    linestyle="",
                    marker="x",
                    color=color,
                    label=f"5-mers: {LABELS[group]}",
                )
        if "apes4" in groups:
            lengths = [1 << log2 for log2 in PAPER if log2 <= 17]
            axes.plot(
                lengths,
                list(PAPER.values())[: len(lengths)],
                color=BASELINE,
                marker=".",
                linewidth=1,
                label="paper: five apes, whole genomes",
            )
        axes.set_xscale("log", base=2)
        axes.set_xlabel("bases of a window", color=MUTED)
        axes.set_ylabel("test accuracy, %", color=MUTED)
        axes.set_title(title, loc="left", fontsize=10, color=TEXT)
        axes.grid(color=GRID, linewidth=0.8)
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=MUTED, length=0)
        axes.legend(
            frameon=False,
            labelcolor=TEXT,
            fontsize=8,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            ncol=2,
        )
    return figure


if __name__ == "__main__":
    sys.exit(main())
