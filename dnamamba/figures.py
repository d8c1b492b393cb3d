"""Pictures of results, as PNG files."""

import csv
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from dnamamba.files import replacing

matplotlib.use("Agg")

SURFACE, TEXT, MUTED, GRID = "#fcfcfb", "#0b0b0b", "#52514e", "#e1e0d9"
TRAINING, HELD_OUT, BASELINE = "#86b6ef", "#1c5cab", "#898781"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG beside `path`, then rename it there."""
    with replacing(path) as beside:
        figure.savefig(beside, dpi=150, facecolor=SURFACE)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv; empty cells are left out."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def smoothed(values: list[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average, without the bias towards its beginning."""
    average, total, result = 0.0, 0.0, []
    for value in values:
        average = weight * average + (1 - weight) * value
        total = weight * total + (1 - weight)
        result.append(average / total)
    return result


def learning_curve(
    metrics: list[dict[str, float]], bases_per_step: int, baselines: dict[int, float], title: str
) -> Figure:
    """Bits per base against bases read, with Markov models as the marks to pass.

    Args:
        metrics: rows of metrics.csv.
        bases_per_step: bases of one optimiser step.
        baselines: bits per base by Markov order, on the windows watched while training.
        title: of the picture.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    axes.set_facecolor(SURFACE)

    rows = [row for row in metrics if "train/bits_per_base" in row]
    train = smoothed([row["train/bits_per_base"] for row in rows])
    bases = [(row["step"] + 1) * bases_per_step / 1e6 for row in rows]
    axes.plot(bases, train, color=TRAINING, linewidth=1.5, label="training (moving average)")

    # The last row of all is the final score, of all windows: dots and baselines are of those watched.
    last_step = max((row["step"] for row in rows), default=0)
    watched = [row for row in metrics if "val/bits_per_base" in row and row["step"] <= last_step]
    held_out = [row["val/bits_per_base"] for row in watched]
    bases = [(row["step"] + 1) * bases_per_step / 1e6 for row in watched]
    axes.plot(
        bases,
        held_out,
        color=HELD_OUT,
        linewidth=2,
        marker="o",
        markersize=5,
        label="held out (windows watched)",
    )

    for order, bits in baselines.items():
        axes.axhline(bits, color=BASELINE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"order-{order} Markov  {bits:.3f}",
            (1.01, bits),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=MUTED,
        )
    seen = [*train[len(train) // 10 :], *held_out, *baselines.values()]
    if seen:
        margin = 0.08 * (max(seen) - min(seen)) + 1e-3
        axes.set_ylim(min(seen) - margin, min(max(seen) + margin, 2.1))
    axes.set_xlabel("bases read (millions)", color=MUTED)
    axes.set_ylabel("bits per base", color=MUTED)
    axes.set_title(title, loc="left", fontsize=10, color=TEXT)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, length=0)
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=9)
    return figure
