"""What a run on a synthetic task prints and writes: accuracy, by length too, and its pictures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from dnamamba.escaping import TsvWriter
from dnamamba.files import replacing
from dnamamba.optional import versions
from dnamamba.reports.figures import GRID, HELD_OUT, MUTED, SURFACE, TEXT, read_metrics, save_figure
from dnamamba.seals import write_results


class AnswersReport:
    """The report of a run whose answers are right or wrong.

    Args:
        name: of the model, with its size.
        data: what was read, see `dnamamba.datasets.base.DataModule`.
        bases_per_step: symbols of an optimiser step.
        headline: see `dnamamba.objectives.base.Meter`.
    """

    title = "pretraining"

    def __init__(self, name: str, data: Any, bases_per_step: int, headline: str) -> None:
        self.name, self.data, self.bases_per_step, self.headline = name, data, bases_per_step, headline

    def introduction(self) -> Sequence[str]:
        """Return the model and the task."""
        return [f"{self.name}, {self.data.summary}"]

    def validation(self, metrics: dict[str, float]) -> str:
        """Return the accuracy of a validation."""
        return f"{self.headline} {metrics[self.headline]:.4f}"

    def finish(
        self, console: Console, folder: Path, outcomes: dict[str, Any], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Write results.json, accuracy.tsv, the learning curve and the extrapolation. See `Report.finish`."""
        results: dict[str, Any] = {}
        for split, outcome in outcomes.items():
            for name, value in outcome.metrics.items():
                results.setdefault(name, {})[split] = value
        rows = list(outcomes["test"].scored)
        results |= {
            "accuracy_by_length": {str(row.length): row.right / row.answers for row in rows},
            "steps": facts["steps"],
            "bases": facts["steps"] * self.bases_per_step,
            "training_seconds": facts["training_seconds"],
        }
        metrics = folder / "metrics.csv"
        watched = [row for row in read_metrics(metrics) if "val/accuracy" in row] if metrics.is_file() else []
        title = f"{self.name} on {self.data.label}"
        points = [(row["step"] + 1, 100 * row["val/accuracy"]) for row in watched]
        save_figure(accuracy_figure(points, "step", title), folder / "learning_curve.png")
        if len(rows) > 1:
            trained = self.data.schedule.stages[-1].length
            points = [(row.length, 100 * row.right / row.answers) for row in rows]
            figure = accuracy_figure(points, "length of the test's sequences", title, marked=trained)
            save_figure(figure, folder / "extrapolation.png")
        with (
            replacing(folder / "accuracy.tsv") as beside,
            beside.open("w", encoding="utf-8", newline="") as file,
        ):
            table = TsvWriter(file)
            table.writerow(("length", "answers", "right", "accuracy"))
            for row in rows:
                table.writerow((row.length, row.answers, row.right, f"{row.right / row.answers:.6f}"))
        results["versions"] = versions()
        # Last: where it is, a resumed run finds that nothing is left to do.
        write_results(folder / "results.json", results)
        self._show(console, folder, results, rows)
        return results

    def _show(self, console: Console, folder: Path, results: dict[str, Any], rows: Sequence[Any]) -> None:
        """Print the accuracy by length, and the path of every file."""
        table = Table(title="test (higher is better)", title_justify="left")
        for column in ("length", "answers", "accuracy, %"):
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(f"{row.length:,}", f"{row.answers:,}", f"{100 * row.right / row.answers:.2f}")
        console.print(table)
        for label, name in (
            ("checkpoint", "checkpoints/last.ckpt"),
            ("model", "model"),
            ("metrics", "metrics.csv"),
            ("results", "results.json"),
            ("table", "accuracy.tsv"),
            ("pictures", "learning_curve.png"),
            ("", "extrapolation.png"),
        ):
            if (folder / name).exists():
                console.print(f"{label:<11}{folder / name}", soft_wrap=True, highlight=False)


def accuracy_figure(
    points: Sequence[tuple[float, float]], along: str, title: str, marked: int | None = None
) -> Figure:
    """Plot accuracy in per cent.

    Args:
        points: place and accuracy.
        along: what the places are.
        title: of the picture.
        marked: a place to mark as the training's; places are then powers of two.
    """
    figure = Figure(figsize=(8, 4.2), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    axes.set_facecolor(SURFACE)
    if points:
        axes.plot(*zip(*points, strict=True), color=HELD_OUT, linewidth=2, marker="o", markersize=5)
    if marked is not None:
        axes.set_xscale("log", base=2)
        ticks = [place for place, _ in points]
        # A formatter's labels would be mathematics, which no text of a picture may be.
        axes.set_xticks(ticks, [f"2^{math.log2(tick):g}" for tick in ticks])
        axes.axvline(marked, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(" length of training", (marked, 2), color=MUTED, fontsize=9)
    axes.set_ylim(0, 103)
    axes.set_xlabel(along, color=MUTED)
    axes.set_ylabel("accuracy, %", color=MUTED)
    axes.set_title(title, loc="left", fontsize=10, color=TEXT)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, length=0)
    return figure
