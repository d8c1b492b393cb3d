"""What a pretraining run prints and writes: bits per base compared with Markov models, the learning curve."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dnamamba.datasets.base import HELD_OUT
from dnamamba.optional import versions
from dnamamba.reports.figures import learning_curve, read_metrics, save_figure
from dnamamba.seals import write_results


class PretrainingReport:
    """The report of a run whose objective scores single bases.

    Args:
        name: of the model, with its size.
        data: what was read, see `dnamamba.datasets.base.DataModule`.
        bases_per_step: of an optimiser step.
        headline: the metric of the table, see `dnamamba.objectives.base.Meter`.
    """

    title = "pretraining"

    def __init__(self, name: str, data: Any, bases_per_step: int, headline: str) -> None:
        self.name = name
        self.data = data
        self.bases_per_step = bases_per_step
        self.headline = headline
        # Bits of masked bases, of which a model sees both sides, are another quantity.
        self.comparable = "masked" not in headline
        self.watched: dict[int, float] = {}

    def introduction(self) -> Sequence[str]:
        """Return the model, the data and its stages.

        Scores the Markov models on what is watched: here, so that a run that is refused has not fitted them,
        and their spinner does not meet the progress bar.
        """
        self.watched = self.data.baselines("valid", watched=True) if self.comparable else {}
        lines = [f"{self.name}, {self.data.summary}", *self.data.notes]
        if not self.comparable:
            unit = self.headline.replace("_", " ")
            lines.append(f"{unit} can't be compared with Markov models, which read one way: none is fitted")
        return [*lines, self.data.stages] if self.data.stages else lines

    def validation(self, metrics: dict[str, float]) -> str:
        """Return a validation's score with those of the Markov models."""
        markov = "".join(f", Markov {order} {value:.3f}" for order, value in self.watched.items())
        return f"{metrics[self.headline]:.4f}{markov}"

    def finish(
        self, console: Console, folder: Path, outcomes: dict[str, Any], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Write results.json and learning_curve.png; print tables and the verdict. See `Report.finish`."""
        results: dict[str, Any] = {self.headline: {}, "markov_bits_per_base": {}}
        for split, outcome in outcomes.items():
            for name, value in outcome.metrics.items():
                if name != "perplexity":  # 2 ** bits_per_base says it already
                    results.setdefault(name, {})[split] = value
            results["markov_bits_per_base"][split] = self.data.baselines(split) if self.comparable else {}
        results |= {
            "steps": facts["steps"],
            "bases": facts["steps"] * self.bases_per_step,
            "training_seconds": facts["training_seconds"],
        }
        results |= verdict(results, self.headline)
        self._draw(folder, results)
        results["versions"] = versions()
        # Last: where it is, a resumed run finds that nothing is left to do.
        write_results(folder / "results.json", results)
        self._show(console, results, folder)
        return results

    def _draw(self, folder: Path, results: dict[str, Any]) -> None:
        """Draw the learning curve in bits per base or byte, if there is one."""
        metrics = folder / "metrics.csv"
        rows = read_metrics(metrics) if metrics.is_file() else []
        unit = self.data.alphabet.unit
        if not any(f"train/bits_per_{unit}" in row for row in rows):
            return
        title = f"{self.name} on {self.data.label}"
        for split, bits in results[self.headline].items():
            markov = results["markov_bits_per_base"][split]
            best = f" (Markov of order {max(markov)}: {markov[max(markov)]:.4f})" if markov else ""
            title += f"\nin the end, all of {split}: {bits:.4f} bits per {unit}{best}"
        curve = learning_curve(rows, self.bases_per_step, self.watched, title, unit)
        save_figure(curve, folder / "learning_curve.png")

    def _show(self, console: Console, results: dict[str, Any], folder: Path) -> None:
        """Print the result compared with the Markov models, and the path of every file."""
        ours = self.name.partition(" ")[0]
        for split, value in results[self.headline].items():
            table = Table(title=f"{split} (lower is better)", title_justify="left")
            table.add_column("model")
            table.add_column(self.headline.replace("_", " "), justify="right")
            baselines = results["markov_bits_per_base"][split]
            rows = {f"Markov, order {order}": bits for order, bits in baselines.items()}
            rows[ours] = value
            for name, bits in sorted(rows.items(), key=lambda row: -row[1]):
                table.add_row(name, f"{bits:.4f}", style="bold" if name == ours else None)
            console.print(table)
        if "verdict" in results:
            console.print(results["verdict"], soft_wrap=True, highlight=False)
        for label, name in (
            ("checkpoint", "checkpoints/last.ckpt"),
            ("model", "model"),
            ("metrics", "metrics.csv"),
            ("results", "results.json"),
            ("picture", "learning_curve.png"),
        ):
            if (folder / name).exists():
                console.print(f"{label:<11}{folder / name}", soft_wrap=True, highlight=False)


def verdict(results: dict[str, Any], headline: str) -> dict[str, str]:
    """Say in a sentence what a run is worth: its bits compared with those of the best Markov model.

    Of the test, or of the validation where there is no test. Digits are those of the table.

    Args:
        results: what results.json holds so far.
        headline: names the bits of the model.

    Returns:
        The key `verdict` of results.json; nothing without Markov models, or for another metric than bits.
    """
    split = next((one for one in reversed(HELD_OUT) if results["markov_bits_per_base"].get(one)), None)
    if split is None or not headline.startswith("bits_per_") or not math.isfinite(results[headline][split]):
        return {}
    markov = results["markov_bits_per_base"][split]
    order = min(markov, key=markov.__getitem__)
    lead, unit = round(markov[order] - results[headline][split], 4), headline.replace("_", " ")
    best = f"the best Markov model (order {order}: {markov[order]:.4f})"
    if lead > 0:
        return {"verdict": f"{split}: the model needs {lead:.4f} {unit} less than {best}"}
    needs = f"{-lead:.4f} {unit} more than" if lead < 0 else f"as many {unit} as"
    return {
        "verdict": f"{split}: the model needs {needs} {best}: it has learnt nothing beyond it yet; train "
        "longer or on more sequence"
    }
