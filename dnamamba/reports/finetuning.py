"""What came of a fine-tuning: metrics, predictions, pictures and a table."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from dnamamba.datasets.base import DataModule
from dnamamba.files import replacing
from dnamamba.models import DecoderConfig
from dnamamba.objectives.metrics import bootstrap, confusion, score
from dnamamba.objectives.sequence import Scored
from dnamamba.reports.figures import (
    confusion_matrix,
    read_metrics,
    regression_scatter,
    save_figure,
    score_curve,
)


def score_all(decoder: DecoderConfig, scored: dict[str, Scored], samples: int) -> dict[str, Any]:
    """Metrics of each split, and the 95 % intervals of those of the test by `samples` resamples."""
    results: dict[str, Any] = {"task": decoder.kind, "labels": list(decoder.labels)}
    for split, found in scored.items():
        metrics = score(decoder.kind, found.predictions, found.labels)
        results[split] = {"examples": len(found.labels)} | {
            name: {"value": value} for name, value in metrics.items()
        }
        counts = confusion(decoder.kind, len(decoder.labels), found.predictions, found.labels)
        if counts is not None:
            results[split]["confusion"] = counts
    limits = bootstrap(decoder.kind, scored["test"].predictions, scored["test"].labels, samples)
    for name, (low, high) in limits.items():
        results["test"][name] |= {"low": low, "high": high}
    return results


def write_predictions(
    path: Path, decoder: DecoderConfig, data: DataModule, scored: dict[str, Scored]
) -> None:
    """A row an example: its name, its split, what it is and what the model makes of it."""
    with replacing(path) as beside, beside.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["id", "split", "label", *prediction_columns(decoder)])
        for split, found in scored.items():
            names = data.names(split, found.examples.numpy())
            for name, truth, row in zip(names, found.labels, found.predictions, strict=True):
                writer.writerow([name, split, _written(decoder, truth), *prediction_cells(decoder, row)])


def prediction_columns(decoder: DecoderConfig) -> list[str]:
    """Names of the columns of `prediction_cells`."""
    if decoder.kind == "regression":
        return ["predicted"]
    return ["predicted", *(f"p_{label}" for label in decoder.labels)]


def prediction_cells(decoder: DecoderConfig, row: torch.Tensor) -> list[str]:
    """What a model makes of one sequence, [C], as text: the answer, and the probability of each label."""
    if decoder.kind == "regression":
        return [f"{row.item():.6g}"]
    if decoder.kind == "classification":
        answer = decoder.labels[int(row.argmax())]
    else:
        chosen = zip(decoder.labels, row.tolist(), strict=True)
        answer = ";".join(label for label, probability in chosen if probability >= 0.5)
    return [answer, *(f"{probability:.6f}" for probability in row.tolist())]


def _written(decoder: DecoderConfig, truth: torch.Tensor) -> str:
    if decoder.kind == "classification":
        return decoder.labels[int(truth)]
    if decoder.kind == "regression":
        return f"{truth.item():.6g}"
    return ";".join(label for label, value in zip(decoder.labels, truth.tolist(), strict=True) if value)


def draw(
    folder: Path, decoder: DecoderConfig, results: dict[str, Any], scored: dict[str, Scored], label: str
) -> None:
    """The confusion matrix, or a regression's scatter, and the learning curve where steps were logged."""
    number = results["test"]["examples"]
    name = "accuracy" if decoder.kind != "regression" else "pearson"
    reached = results["test"][name]
    title = (
        f"{label}\ntest {name} {reached['value']:.3f} ({reached['low']:.3f} to {reached['high']:.3f}), "
        f"{number:,} sequences"
    )
    if decoder.kind == "regression":
        found = scored["test"]
        figure = regression_scatter(found.labels[:, 0].tolist(), found.predictions[:, 0].tolist(), title)
        save_figure(figure, folder / "predictions.png")
    else:
        figure = confusion_matrix(results["test"]["confusion"], decoder.labels, title)
        save_figure(figure, folder / "confusion_matrix.png")
    metrics = folder / "metrics.csv"
    rows = read_metrics(metrics) if metrics.is_file() else []
    if any("train/loss" in row for row in rows):
        curve = score_curve(rows, name, results["kept_step"], title)
        save_figure(curve, folder / "learning_curve.png")


def show(console: Console, results: dict[str, Any], folder: Path) -> None:
    """The run's outcome, and where everything lies."""
    table = Table(title=f"test, {results['test']['examples']:,} sequences", title_justify="left")
    if "valid" in results.get("head_from", {}).get("test", ()):
        table.caption = "test: of the saved head; validation: of the one computed without those sequences"
        table.caption_justify = "left"
    for column in ("metric", "test", "95 % interval", "validation"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, found in results["test"].items():
        if isinstance(found, dict):
            interval = f"{found['low']:.4f} to {found['high']:.4f}"
            table.add_row(name, f"{found['value']:.4f}", interval, f"{results['valid'][name]['value']:.4f}")
    console.print(table)
    for label, file in (
        ("checkpoint", "checkpoints/last.ckpt"),
        ("model", "model"),
        ("metrics", "metrics.json"),
        ("predictions", "predictions.tsv"),
        ("picture", "confusion_matrix.png"),
        ("picture", "predictions.png"),
        ("picture", "learning_curve.png"),
    ):
        if (folder / file).exists():
            console.print(f"{label:<12}{folder / file}", soft_wrap=True, highlight=False)


class FinetuningReport:
    """The report of a run whose objective answers a question about whole sequences.

    Args:
        name: the model, its size and its source.
        decoder: the question.
        data: what was read, see `dnamamba.datasets.base.DataModule`.
        task: the `task` group.
        best: knows which step's weights were kept.
        fit: a head in closed form, or None.
    """

    title = "fine-tuning"

    def __init__(self, name: str, decoder: DecoderConfig, data: Any, task: Any, best: Any, fit: Any) -> None:
        self.name = name
        self.decoder = decoder
        self.data = data
        self.task = task
        self.best = best
        self.fit = fit

    def introduction(self) -> Sequence[str]:
        """The model, the data, its stages."""
        lines = [self.name, f"{self.data.label}: {self.data.summary}", *self.data.notes]
        return [*lines, self.data.stages] if self.data.stages else lines

    def validation(self, metrics: dict[str, float]) -> str:
        """Every metric of a validation."""
        return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())

    def finish(
        self, console: Console, folder: Path, outcomes: dict[str, Any], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Write metrics.json, predictions.tsv and pictures; print a table."""
        scored = {split: outcome.scored for split, outcome in outcomes.items()}
        with console.status("bootstrapping"):
            results = score_all(self.decoder, scored, self.task.bootstrap)
        steps, data = facts["steps"], self.data
        results |= {
            "steps": steps,
            "kept_step": self.best.step if self.task.keep_best and self.best.weights else steps,
            "training_seconds": facts["training_seconds"],
            "data": {"label": data.label, "summary": data.summary, "notes": list(data.notes)},
        }
        if self.fit is not None:
            results["head_from"] = {split: list(head.splits) for split, head in self.fit.heads.items()}
        write_predictions(folder / "predictions.tsv", self.decoder, data, scored)
        draw(folder, self.decoder, results, scored, data.label)
        # Last: where it is, a resumed run finds that nothing is left to do.
        with replacing(folder / "metrics.json") as beside:
            beside.write_text(json.dumps(results, indent=2) + "\n")
        show(console, results, folder)
        return results
