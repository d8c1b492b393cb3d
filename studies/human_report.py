"""Tables and pictures of what `studies/human.py run` left: `python studies/human.py report`."""

import csv
import json
import math
import statistics
import sys
from pathlib import Path

from human import ROOT, RUNS, SHORT
from rich.console import Console
from rich.table import Table

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


def bases_per_second(folder: Path) -> float:
    """Return the median of what a run logged."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row.get("train/bases_per_second") for row in csv.DictReader(file)]
    return statistics.median(float(row) for row in rows if row)


def results_of(out: Path) -> list[dict]:
    """Return a row per finished run, in the order of RUNS."""
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
    """Print the tables, write all runs to human.csv, and draw two pictures."""
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
    """Return a row per length: the mean perplexity, and the change from the next shorter length in percent.

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
    """Return perplexity of a length on a split, by the seed of the run."""
    return {row["run"].rpartition("_")[2]: row[split] for row in rows if row["length"] == length}


def pictures(rows: list[dict], out: Path) -> None:
    """Draw the perplexity of the runs against length and against size."""
    by_size = [row for row in rows if row["run"].endswith(SHORT) and row["length"] == 2**10]
    by_length = [row for row in rows if not row["run"].endswith(SHORT)]
    for chosen, key, paper, label, of_paper, name in (
        (by_length, "length", PAPER_BY_LENGTH, "bases of context", "1.4M parameters, 330 G bases", "length"),
        (by_size, "parameters", PAPER_BY_SIZE, "parameters", "context 2^10, 10.5 G bases", "size"),
    ):
        if chosen:
            draw(chosen, key, paper, label, of_paper, out / f"perplexity_{name}.png")


def draw(rows: list[dict], key: str, paper: dict[int, float], label: str, of_paper: str, path: Path) -> None:
    """Draw our runs as dots with a line through the means, and the paper's, of other data and more bases."""
    sys.path.insert(0, str(ROOT))
    from matplotlib.figure import Figure

    from dnamamba.reports.figures import BASELINE, GRID, HELD_OUT, MUTED, SURFACE, TEXT, TRAINING, save_figure

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
