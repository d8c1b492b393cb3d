"""Pictures of results, as PNG files."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from dnamamba.errors import UserError
from dnamamba.escaping import drawable
from dnamamba.files import replacing

SURFACE, TEXT, MUTED, GRID = "#fcfcfb", "#0b0b0b", "#52514e", "#e1e0d9"
_TICK = 40  # characters of a name next to an axis; more would leave no room for the picture
TRAINING, HELD_OUT, BASELINE = "#86b6ef", "#1c5cab", "#898781"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG next to `path`, then rename it there; see `draw`."""
    with replacing(path) as beside:
        draw(figure, beside)


def draw(figure: Figure, path: Path | IO[bytes]) -> None:
    """Write a PNG; every text as it stands, whatever names it holds."""
    for text in figure.findobj(Text):
        # Between two `$` Matplotlib would read mathematics, or fail to.
        text.set_parse_math(False)
        text.set_text(drawable(text.get_text()))
    with warnings.catch_warnings():
        # A name may have letters that the font lacks; they are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.set(dpi=150, facecolor=SURFACE)
        # `savefig` draws twice, for layouts that a first drawing settles.
        FigureCanvasAgg(figure).print_png(path)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the rows of a run's metrics.csv, without empty cells and a last line that was cut off.

    Raises:
        UserError: a row holds anything but numbers, or has no step.
    """
    number, rows = 1, []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in file if line.endswith("\n")]
        for row in csv.DictReader(lines):
            number += 1
            rows.append({key: float(value) for key, value in row.items() if value})
            if not rows[-1]["step"].is_integer():
                raise ValueError(f"step {rows[-1]['step']}")
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        reason = "no step" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UserError(
            f"{path}, row {number}: damaged ({reason}); mend it, or remove the file: the curve then begins "
            "at the checkpoint"
        ) from None
    return rows


def smoothed(values: list[float], weight: float = 0.9) -> list[float]:
    """Return the exponential moving average, without the bias towards its beginning."""
    average, total, result = 0.0, 0.0, []
    for value in values:
        average = weight * average + (1 - weight) * value
        total = weight * total + (1 - weight)
        result.append(average / total)
    return result


def learning_curve(
    metrics: list[dict[str, float]],
    bases_per_step: int,
    baselines: dict[int, float],
    title: str,
    unit: str = "base",
) -> Figure:
    """Plot bits per base against bases read, with Markov models for comparison.

    Args:
        metrics: rows of metrics.csv.
        bases_per_step: bases of one optimiser step.
        baselines: bits per base by Markov order, on the windows watched while training.
        title: of the picture.
        unit: what is read, in the names of the metrics.
    """
    bits_per = f"bits_per_{unit}"
    figure = Figure(figsize=(8, 4.8), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    axes.set_facecolor(SURFACE)

    rows = [row for row in metrics if f"train/{bits_per}" in row]
    train = smoothed([row[f"train/{bits_per}"] for row in rows])
    bases = [(row["step"] + 1) * bases_per_step / 1e6 for row in rows]
    axes.plot(bases, train, color=TRAINING, linewidth=1.5, label="training (moving average)")

    # The last row of all is the final score, of all windows: dots and baselines are of those watched.
    last_step = max((row["step"] for row in rows), default=0)
    watched = [row for row in metrics if f"val/{bits_per}" in row and row["step"] <= last_step]
    held_out = [row[f"val/{bits_per}"] for row in watched]
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
        most = 2.1 if unit == "base" else 8.4
        axes.set_ylim(min(seen) - margin, min(max(seen) + margin, most))
    axes.set_xlabel(f"{unit}s read (millions)", color=MUTED)
    axes.set_ylabel(f"bits per {unit}", color=MUTED)
    axes.set_title(title, loc="left", fontsize=10, color=TEXT)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, length=0)
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=9)
    return figure


def _axes(figure: Figure, title: str) -> Axes:
    axes = figure.subplots()
    axes.set_facecolor(SURFACE)
    axes.set_title(title, loc="left", fontsize=10, color=TEXT)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, length=0)
    return axes


def score_curve(
    metrics: list[dict[str, float]],
    score: str,
    kept_step: int,
    title: str,
    losses_of: tuple[str, str] | None = None,
) -> Figure:
    """Plot loss and one metric of a fine-tuning against its steps.

    Args:
        metrics: rows of metrics.csv.
        score: the metric, as in `val/<score>`.
        kept_step: the step whose weights were kept.
        title: of the picture.
        losses_of: what training and validation lose, where these are two quantities: each has a panel then.
    """
    panels = 2 if losses_of is None else 3
    figure = Figure(figsize=(8, 2.8 * panels), layout="constrained", facecolor=SURFACE)
    upper, *watching, lower = figure.subplots(panels, sharex=True)
    middle = watching[0] if watching else upper
    rows = [row for row in metrics if "train/loss" in row]
    last = max((row["step"] for row in rows), default=0)
    watched = [row for row in metrics if "val/loss" in row and row["step"] <= last]
    steps = [row["step"] + 1 for row in rows]
    losses = smoothed([row["train/loss"] for row in rows])
    upper.plot(steps, losses, color=TRAINING, linewidth=1.5, label="training (moving average)")
    for axes, name in ((middle, "loss"), (lower, score)):
        found = [(row["step"] + 1, row[f"val/{name}"]) for row in watched if f"val/{name}" in row]
        axes.plot(
            *zip(*found, strict=True),
            color=HELD_OUT,
            linewidth=2,
            marker="o",
            markersize=5,
            label="validation (sequences watched)",
        ) if found else None
    names = ("loss", score) if losses_of is None else (*losses_of, score)
    for axes, name in zip((upper, *watching, lower), names, strict=True):
        axes.axvline(
            kept_step, color=BASELINE, linewidth=1, linestyle=(0, (4, 3)), zorder=1, label="weights kept"
        )
        axes.set_facecolor(SURFACE)
        axes.set_ylabel(name, color=MUTED)
        axes.grid(color=GRID, linewidth=0.8)
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=MUTED, length=0)
    upper.set_title(title, loc="left", fontsize=10, color=TEXT)
    for axes in (upper, *watching):
        axes.legend(frameon=False, labelcolor=TEXT, fontsize=9)
    lower.set_xlabel("step", color=MUTED)
    return figure


def confusion_matrix(counts: list, labels: Sequence[str], title: str) -> Figure:
    """Plot the counts of true against predicted classes, shaded by the share of the true class.

    Args:
        counts: [true][predicted]; or, of several labels each its own question, [label][true][predicted],
            which gives a row a label: how often it was missed, found, and seen where it is not.
        labels: names of the classes or labels.
        title: of the picture.
    """
    several = bool(counts) and isinstance(counts[0][0], list)
    if several:
        table = [[no[0], no[1], yes[0], yes[1]] for no, yes in counts]
        columns = [
            "absent, not\npredicted",
            "absent, but\npredicted",
            "present, but\nmissed",
            "present and\nfound",
        ]
    else:
        table, columns = counts, list(labels)
    size = max(4.0, 1.6 + 0.7 * len(columns))
    figure = Figure(
        figsize=(size + 1.6, max(3.4, 1.6 + 0.6 * len(table))), layout="constrained", facecolor=SURFACE
    )
    axes = _axes(figure, "")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=TEXT)
    shares = [[count / max(1, sum(row)) for count in row] for row in table]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            color = "white" if shares[i][j] > 0.6 else TEXT
            text = f"{count:,}\n{100 * shares[i][j]:.1f} %"
            axes.annotate(text, (j, i), ha="center", va="center", fontsize=9, color=color)
    axes.set_xticks(range(len(columns)), [drawable(name, _TICK) for name in columns])
    axes.set_yticks(range(len(table)), [drawable(name, _TICK) for name in labels])
    axes.set_xlabel("" if several else "predicted", color=MUTED)
    axes.set_ylabel("label" if several else "true", color=MUTED)
    return figure


def regression_scatter(truth: list[float], predicted: list[float], title: str) -> Figure:
    """Plot predicted against measured numbers, with the line on which they are equal.

    Args:
        truth, predicted: in the unit of the labels, one per example.
        title: above the plot.
    """
    figure = Figure(figsize=(5.6, 5.2), layout="constrained", facecolor=SURFACE)
    axes = _axes(figure, title)
    axes.scatter(truth, predicted, s=10, color=HELD_OUT, alpha=0.6, linewidths=0)
    ends = [min(truth), max(truth)]
    axes.plot(ends, ends, color=BASELINE, linewidth=1, linestyle=(0, (4, 3)))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_xlabel("measured", color=MUTED)
    axes.set_ylabel("predicted", color=MUTED)
    return figure
