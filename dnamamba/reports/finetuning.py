"""The results of a fine-tuning: metrics, predictions, pictures and a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from dnamamba.datasets.base import DataModule
from dnamamba.escaping import TsvWriter
from dnamamba.files import replacing
from dnamamba.heads.bootstrap import draw
from dnamamba.models import DecoderConfig
from dnamamba.objectives.sequence import Scored
from dnamamba.optional import versions
from dnamamba.reports.comparison import compare, finite, metrics_table, shown
from dnamamba.reports.figures import read_metrics, save_figure, score_curve
from dnamamba.seals import write_results

FEW = 30  # of which an accuracy's 95 % interval is up to 36 points wide


def score_all(
    decoder: DecoderConfig, scored: dict[str, Scored], samples: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Compute each split's metrics, those of the test with 95 % intervals, and the test's of each draw.

    None stands for a metric that the sequences of a split do not define; `notes` says why, and what else is
    left out.

    Args:
        decoder: names the head.
        scored: logits and labels of each split.
        samples: bootstrap draws.
    """
    head = decoder.head
    results: dict[str, Any] = {"task": decoder.kind, "labels": list(decoder.labels)}
    for split, found in scored.items():
        metrics = head.metrics(found.logits, found.labels)
        results[split] = {"examples": len(found.labels)} | {
            name: {"value": finite(value)} for name, value in metrics.items()
        }
        counts = head.confusion(found.logits, found.labels)
        if counts is not None:
            results[split]["confusion"] = counts
        results[split]["notes"] = head.notes(found.logits, found.labels)
    test = scored["test"]
    draws = draw(head, test.logits, test.labels, samples)
    intervals, incomplete = draws.summary(head.metrics(test.logits, test.labels))
    for name, (low, high) in intervals.items():
        results["test"][name] |= {"low": finite(low), "high": finite(high)}
    if incomplete:
        results["test"]["notes"].append(
            f"the 95 % intervals come from {samples:,} random redraws of the test sequences; {incomplete:,} "
            "of them lack something that a metric needs, for example every sequence of a class; such a "
            "metric is computed without that class there, or, where that is impossible, its interval without "
            "that redraw"
        )
    return results, draws.values


def caution(results: dict[str, Any], data: DataModule) -> dict[str, str]:
    """Warn where too few sequences are held out to tell one model from another.

    Args:
        results: with the number of examples of each split.
        data: has the settings that hold out more.

    Returns:
        The key `caution` of metrics.json; nothing where validation and test have `FEW` sequences each.
    """
    numbers = {
        name: results[split]["examples"] for split, name in (("valid", "validation"), ("test", "test"))
    }
    few = [f"{number:,} {name}" for name, number in numbers.items() if number < FEW]
    if not few:
        return {}
    # Another data set may split itself in its own way.
    known = hasattr(data.config_class, "valid_fraction")
    keys = " (data.valid_fraction, data.test_fraction, or name chromosomes)" if known else ""
    noun = "sequence" if few[-1].startswith("1 ") else "sequences"
    return {"caution": f"only {' and '.join(few)} {noun}: these numbers decide little; hold out more{keys}"}


def write_predictions(
    path: Path, decoder: DecoderConfig, data: DataModule, scored: dict[str, Scored]
) -> None:
    """Write a row per example: its name, its split, its label and the model's prediction.

    Args:
        path: the TSV.
        decoder: names the head.
        data: has the examples' names.
        scored: logits and labels of each split.
    """
    head = decoder.head
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = TsvWriter(file)
        writer.writerow(["id", "split", "label", *head.columns()])
        for split, found in scored.items():
            names = data.names(split, found.examples.numpy())
            for name, truth, row in zip(names, found.labels, found.logits, strict=True):
                writer.writerow([name, split, head.written(truth), *head.cells(row)])


def draw_pictures(
    folder: Path, decoder: DecoderConfig, results: dict[str, Any], scored: dict[str, Scored], label: str
) -> None:
    """Draw the head's picture of the test, and the learning curve if steps were logged.

    Args:
        folder: of the run.
        decoder: names the head.
        results: what metrics.json holds.
        scored: logits and labels of each split.
        label: of the run, for titles.
    """
    head, test = decoder.head, scored["test"]
    number, reached = results["test"]["examples"], results["test"][head.headline]
    value, low, high = (shown(reached[key], 3) for key in ("value", "low", "high"))
    title = f"{label}\ntest {head.headline} {value} ({low} to {high}), {number:,} sequences"
    figure = head.picture(test.logits, test.labels, title)
    if figure is not None:
        save_figure(figure, folder / head.picture_file)
    metrics = folder / "metrics.csv"
    rows = read_metrics(metrics) if metrics.is_file() else []
    if any("train/loss" in row for row in rows):
        curve = score_curve(rows, head.headline, results["kept_step"], title)
        save_figure(curve, folder / "learning_curve.png")


def show(console: Console, results: dict[str, Any], folder: Path) -> None:
    """Print the run's metrics, what they leave out, and the path of every file.

    Args:
        console: to print to.
        results: what metrics.json holds.
        folder: of the run.
    """
    console.print(metrics_table(results))
    for line in results.get("baseline_notes", ()):
        console.print(line, soft_wrap=True, highlight=False)
    if "verdict" in results:
        console.print(results["verdict"], soft_wrap=True, highlight=False)
    if "caution" in results:
        console.print(results["caution"], soft_wrap=True, highlight=False)
    for split, name in (("test", "test"), ("valid", "validation")):
        for note in results[split]["notes"]:
            console.print(f"{name}: {note}", soft_wrap=True, highlight=False)
    for label, file in (
        ("checkpoint", "checkpoints/last.ckpt"),
        ("model", "model"),
        ("metrics", "metrics.json"),
        ("predictions", "predictions.tsv"),
        *(("picture", path.name) for path in sorted(folder.glob("*.png"))),
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
        fit: a closed-form head, or None.
        baselines: simple models to fit on the same data, see `dnamamba.training.baselines`; None fits none.
        chosen: what was chosen by the data, a sentence each.
    """

    title = "fine-tuning"

    def __init__(
        self,
        name: str,
        decoder: DecoderConfig,
        data: Any,
        task: Any,
        best: Any,
        fit: Any,
        baselines: Any = None,
        chosen: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.decoder = decoder
        self.data = data
        self.task = task
        self.best = best
        self.fit = fit
        self.baselines = baselines
        self.chosen = chosen

    def introduction(self) -> Sequence[str]:
        """Return the model, the data, its stages."""
        lines = [self.name, f"{self.data.label}: {self.data.summary}", *self.data.notes, *self.chosen]
        return [*lines, self.data.stages] if self.data.stages else lines

    def validation(self, metrics: dict[str, float]) -> str:
        """Return every metric of a validation."""
        return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())

    def finish(
        self, console: Console, folder: Path, outcomes: dict[str, Any], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Write metrics.json, predictions.tsv and pictures; print a table. See `Report.finish`."""
        scored = {split: outcome.scored for split, outcome in outcomes.items()}
        with console.status("bootstrapping"):
            results, draws = score_all(self.decoder, scored, self.task.bootstrap)
        steps, data = facts["steps"], self.data
        results |= {
            "steps": steps,
            "kept_step": self.best.step if self.task.keep_best and self.best.weights else steps,
            "training_seconds": facts["training_seconds"],
            "chosen": list(self.chosen),
            "data": {"label": data.label, "summary": data.summary, "notes": list(data.notes)},
        }
        if self.fit is not None:
            results["head_from"] = {split: list(head.splits) for split, head in self.fit.heads.items()}
        if self.baselines is not None:
            results |= self._compare(console, results, draws)
        results |= caution(results, data)
        write_predictions(folder / "predictions.tsv", self.decoder, data, scored)
        draw_pictures(folder, self.decoder, results, scored, data.label)
        results["versions"] = versions()
        # Last: where it is, a resumed run finds that nothing is left to do.
        write_results(folder / "metrics.json", results)
        show(console, results, folder)
        return results

    def _compare(self, console: Console, results: dict[str, Any], draws: dict[str, Tensor]) -> dict[str, Any]:
        """Return the keys `baselines`, `baseline_notes` and `verdict` of metrics.json."""
        fitted = self.baselines.fit(console)
        found, theirs = {}, {}
        with console.status("bootstrapping the baselines"):
            for one in fitted.all:
                scores, theirs[one.name] = score_all(self.decoder, one.scored, self.task.bootstrap)
                found[one.name] = one.settings | {split: scores[split] for split in one.scored}
        return {
            "baselines": found,
            "baseline_notes": list(fitted.notes),
            **compare(self.decoder.head, results, draws, found, theirs),
        }
