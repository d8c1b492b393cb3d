"""The results of a fine-tuning per position: metrics per label, segments, baselines, and which is better."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dnamamba.datasets.base import HELD_OUT
from dnamamba.heads.base_classes import BaseClasses
from dnamamba.heads.bootstrap import interval
from dnamamba.heads.positions import PositionHead
from dnamamba.heads.segments import agreement, called, segments
from dnamamba.objectives.positions import PositionsScored
from dnamamba.optional import versions
from dnamamba.reports.comparison import MODEL, compare, finite, shown
from dnamamba.reports.figures import confusion_matrix, read_metrics, save_figure, score_curve
from dnamamba.seals import write_results

BLOCK = 10_000  # bases that are resampled together: neighbours are not independent
LEAST_BLOCKS = 50  # of a test that has fewer, blocks are shorter
SEED = 0
# What is found of segments, and its shares, as the table heads them.
SEGMENTS = {"exact": "exact", "overlap": "half"}
SHARES = {"precision": "P", "recall": "R", "f1": "F1"}


def resample(head: PositionHead, scored: PositionsScored, samples: int) -> dict[str, Tensor]:
    """Resample a split's blocks: metrics float64 [samples] each, always with the same draws.

    Args:
        head: computes the metrics.
        scored: logits [n, C], targets and sizes of the split.
        samples: number of draws.
    """
    length = max(1, min(BLOCK // head.decoder.bin, sum(scored.sizes) // LEAST_BLOCKS))
    blocks = [min(length, size - start) for size in scored.sizes for start in range(0, size, length)]
    found = head.statistics(scored.logits, scored.targets, blocks)
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randint(len(blocks), (samples, len(blocks)), generator=generator)
    times = torch.stack([torch.bincount(row, minlength=len(blocks)) for row in drawn]).double()
    return head.from_statistics(times @ found)


def scores(head: PositionHead, scored: PositionsScored, draws: dict[str, Tensor]) -> dict[str, Any]:
    """Collect a split's metrics: over all, with intervals where there are `draws`; per label; segments.

    Args:
        head: computes the metrics.
        scored: logits [n, C], targets and sizes of the split.
        draws: metrics of each draw, from `resample`; empty: no intervals.
    """
    metrics, rows = head.measured(scored.logits, scored.targets)
    found: dict[str, Any] = {"positions": int(head.number(scored.targets))}
    for name, value in metrics.items():
        found[name] = {"value": finite(value)}
        if name in draws:
            low, high = interval(draws[name], value)
            found[name] |= {"low": finite(low), "high": finite(high)}
    found["per_label"] = [_plain(row) for row in rows]
    if isinstance(head, BaseClasses):
        found["confusion"] = head.confusion(scored.logits, scored.targets).tolist()
        found["segments"] = agreement(*_segments(scored, head.labels))
    return found


def _segments(scored: PositionsScored, labels: Sequence[str]) -> tuple[list[Any], list[Any]]:
    best = scored.logits.argmax(-1).to(torch.uint8).split(scored.sizes)
    true = scored.targets.split(scored.sizes)
    pairs = [(b.numpy(), t.numpy()) for b, t in zip(best, true, strict=True)]
    return (
        [segments(called(b, t), labels) for b, t in pairs],
        [segments(t, labels) for _, t in pairs],
    )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: finite(value) if isinstance(value, float) else value for key, value in row.items()}


def tables(results: dict[str, Any], metrics: Sequence[str]) -> list[Table]:
    """Build tables of the test's metrics: of model and baselines; per label; for classes, of segments.

    80 columns hold them: a long name goes on in the next line, and nothing is cut.
    """
    models = {MODEL: results, **results.get("baselines", {})}
    overall = _table("test", ("model",), (*metrics, "95 % interval of " + results["headline"]))
    for name, found in models.items():
        test, head = found["test"], found["test"][results["headline"]]
        limits = f"{shown(head.get('low'))} to {shown(head.get('high'))}"
        overall.add_row(name, *(shown(test[metric]["value"]) for metric in metrics), limits)
    made = [overall]
    rows = results["test"].get("per_label") or []
    if rows:
        made.append(_table("test, per label", ("label",), [name for name in rows[0] if name != "label"]))
        for row in rows:
            made[-1].add_row(*(_cell(value) for value in row.values()))
    rows = results["test"].get("segments") or []
    if rows:
        shares = [f"{how}\n{letter}" for how in SEGMENTS.values() for letter in SHARES.values()]
        table = _table("test, segments", ("feature, strand",), ("true", "called", *shares))
        table.caption = (
            "P precision, R recall; exact: both ends right; half: shared by at least half of what the two "
            "cover; -: undefined"
        )
        table.caption_justify = "left"
        for row in rows:
            found = [row[how][share] for how in SEGMENTS for share in SHARES]
            cells = ("-" if value is None else _cell(value) for value in found)
            name = f"{row['feature']} {row['strand']}"
            table.add_row(name, _cell(row["true"]), _cell(row["called"]), *cells)
        made.append(table)
    return made


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return a table with columns of words, then of numbers."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.padding, table.pad_edge, table.collapse_padding = (0, 1), False, True
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else shown(value, 3)


class PositionReport:
    """The report of a run whose objective answers at every base or bin.

    Args:
        name: the model, its size and its source.
        head: of the run.
        data: what was read.
        task: the `task` group.
        best: knows which step's weights were kept.
        baselines: fits simple models on the same data; None fits none.
        remarks: lines to read before the first step.
        chosen: what was chosen by the data, a sentence each.
    """

    title = "fine-tuning"

    def __init__(
        self,
        name: str,
        head: PositionHead,
        data: Any,
        task: Any,
        best: Any,
        baselines: Callable[[Any], Sequence[Any]] | None,
        remarks: Sequence[str] = (),
        chosen: Sequence[str] = (),
    ) -> None:
        self.chosen = chosen
        self.name, self.head, self.data, self.task = name, head, data, task
        self.best, self.baselines, self.remarks = best, baselines, remarks

    def introduction(self) -> Sequence[str]:
        """Describe the model and the data."""
        return [
            self.name,
            f"{self.data.label}: {self.data.summary}",
            *self.data.notes,
            *self.chosen,
            *self.remarks,
        ]

    def validation(self, metrics: dict[str, float]) -> str:
        """Return every metric of a validation."""
        return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())

    def finish(
        self, console: Console, folder: Path, outcomes: dict[str, Any], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Write metrics.json and pictures; print tables. See `Report.finish`."""
        head, scored = self.head, {split: outcome.scored for split, outcome in outcomes.items()}
        steps = facts["steps"]
        results: dict[str, Any] = {
            "task": head.decoder.kind,
            "labels": list(head.labels),
            "headline": head.headline,
            "steps": steps,
            "kept_step": self.best.step if self.task.keep_best and self.best.weights else steps,
            "training_seconds": facts["training_seconds"],
            "chosen": list(self.chosen),
            "data": {"label": self.data.label, "summary": self.data.summary, "notes": list(self.data.notes)},
        }
        with console.status("bootstrapping"):
            draws = resample(head, scored["test"], self.task.bootstrap)
            for split in HELD_OUT:
                results[split] = scores(head, scored[split], draws if split == "test" else {})
        if self.baselines is not None:
            results |= self._compare(console, results, scored, draws)
        self._draw(folder, results)
        results["versions"] = versions()
        # Last: where it is, a resumed run finds that nothing is left to do.
        write_results(folder / "metrics.json", results)
        for table in tables(results, head.scores):
            console.print(table)
        if "verdict" in results:
            console.print(results["verdict"], soft_wrap=True, highlight=False)
        for label, file in (
            ("checkpoint", "checkpoints/last.ckpt"),
            ("model", "model"),
            ("metrics", "metrics.json"),
            *(("picture", path.name) for path in sorted(folder.glob("*.png"))),
        ):
            if (folder / file).exists():
                console.print(f"{label:<12}{folder / file}", soft_wrap=True, highlight=False)
        return results

    def _compare(
        self,
        console: Console,
        results: dict[str, Any],
        scored: dict[str, PositionsScored],
        draws: dict[str, Tensor],
    ) -> dict[str, Any]:
        """Return the keys `baselines` and `verdict` of metrics.json."""
        assert self.baselines is not None
        found, theirs = {}, {}
        for one in self.baselines(console):
            with console.status(f"scoring {one.name}"):
                own = {split: scored[split]._replace(logits=one.logits[split]) for split in HELD_OUT}
                theirs[one.name] = resample(self.head, own["test"], self.task.bootstrap)
                found[one.name] = one.settings | {
                    split: scores(self.head, own[split], theirs[one.name] if split == "test" else {})
                    for split in HELD_OUT
                }
        if not found:
            return {"verdict": "no baselines: the genome is too large for them"}
        return {"baselines": found, **compare(self.head, results, draws, found, theirs)}

    def _draw(self, folder: Path, results: dict[str, Any]) -> None:
        head, test = self.head, results["test"]
        reached = test[head.headline]
        value, low, high = (shown(reached.get(key), 3) for key in ("value", "low", "high"))
        title = f"{self.data.label}\ntest {head.headline} {value} ({low} to {high})"
        if "confusion" in test:
            figure = confusion_matrix(test["confusion"], head.labels, title)
            save_figure(figure, folder / "confusion_matrix.png")
        metrics = folder / "metrics.csv"
        rows = read_metrics(metrics) if metrics.is_file() else []
        if any("train/loss" in row for row in rows):
            curve = score_curve(rows, head.headline, results["kept_step"], title, head.loss_names)
            save_figure(curve, folder / "learning_curve.png")
