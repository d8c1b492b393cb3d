"""A fine-tuned model compared with simple ones: one table, and in words which is better."""

import math
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from torch import Tensor

from dnamamba.heads.base import Head
from dnamamba.heads.bootstrap import interval
from dnamamba.heads.positions import PositionHead

MODEL = "model"


class Lead(NamedTuple):
    """The model's metric compared with that of the best baseline; of both, better is larger here.

    Attributes:
        metric: the head's headline.
        best: name of the baseline.
        own, others: the metric of the model and of that baseline.
        value: the difference, positive where the model is better.
        low, high: its 95 % interval; NaN where no draw defines it.
    """

    metric: str
    best: str
    own: float
    others: float
    value: float
    low: float
    high: float

    @property
    def both(self) -> str:
        """The two metrics, in words."""
        return f"{shown(self.own)} against {shown(self.others)}"

    @property
    def verdict(self) -> str:
        """Which of the two is better, in a sentence: one of them is where the interval holds no 0."""
        both = f"{self.both}; 95 % interval of the lead {shown(self.low)} to {shown(self.high)}"
        if self.low > 0:
            return f"the model is better than every baseline, by {self.value:.4f} over {self.best} ({both})"
        if self.high < 0:
            return f"a baseline is better than the model: {self.best}, by {-self.value:.4f} ({both})"
        return f"the model and {self.best} do not differ significantly ({both})"

    def result(self) -> dict[str, Any]:
        """Return what metrics.json holds of it."""
        limits = {"low": finite(self.low), "high": finite(self.high)}
        return {
            "best_baseline": self.best,
            "lead": {"metric": self.metric, "value": self.value, **limits},
            "verdict": f"{self.metric}: {self.verdict}",
        }


def lead_of(
    head: Head | PositionHead,
    results: dict[str, Any],
    draws: dict[str, Tensor],
    baselines: dict[str, dict[str, Any]],
    theirs: dict[str, dict[str, Tensor]],
) -> Lead | None:
    """Compare the model with the best baseline by the head's headline; None where one is undefined.

    Args:
        head, results, draws, baselines, theirs: as in `compare`.
    """
    name = head.headline
    sign = -1 if name in head.lower_is_better else 1
    values = {one: found["test"][name]["value"] for one, found in baselines.items()}
    known = {one: value for one, value in values.items() if value is not None}
    own = results["test"][name]["value"]
    if not known or own is None:
        return None
    best = max(known, key=lambda one: sign * known[one])
    value = sign * (own - known[best])
    low, high = interval(sign * (draws[name] - theirs[best][name]), value)
    return Lead(name, best, own, known[best], value, low, high)


def without_lead(head: Head | PositionHead, baselines: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what metrics.json holds where `lead_of` is None; nothing without baselines."""
    words = f"{head.headline} of the model or of all baselines is undefined"
    return {"verdict": words} if baselines else {}


def compare(
    head: Head | PositionHead,
    results: dict[str, Any],
    draws: dict[str, Tensor],
    baselines: dict[str, dict[str, Any]],
    theirs: dict[str, dict[str, Tensor]],
) -> dict[str, Any]:
    """Say which is better by the head's first metric, as values and a sentence; nothing without baselines.

    The difference between model and best baseline has an interval of its own: the two are resampled
    together. One of them is better where it holds no 0.

    Args:
        head: has the headline.
        results: of the model, as in metrics.json.
        draws: the model's metrics in each resample of the test, float64 [samples].
        baselines, theirs: the same of each baseline, by name.
    """
    lead = lead_of(head, results, draws, baselines, theirs)
    if lead is None:
        return without_lead(head, baselines)
    return lead.result()


def metrics_table(results: dict[str, Any]) -> Table:
    """Return the model's metrics, and under each those of the baselines."""
    baselines = results.get("baselines", {})
    title = f"test, {results['test']['examples']:,} sequences"
    # 80 columns hold it with the baselines only without a frame.
    frame = box.SIMPLE_HEAD if baselines else box.HEAVY_HEAD
    table = Table(title=title, title_justify="left", box=frame, pad_edge=not baselines)
    if "valid" in results.get("head_from", {}).get("test", ()):
        table.caption = "test: of the saved head; validation: of the one computed without those sequences"
        table.caption_justify = "left"
    for column in ("metric", *(("of",) if baselines else ()), "test", "95 % interval", "validation"):
        table.add_column(column, justify="left" if column in ("metric", "of") else "right")
    models = {MODEL: results, **baselines}
    for metric, found in results["test"].items():
        if not isinstance(found, dict):
            continue
        for name, scores in models.items():
            test, valid = scores["test"][metric], scores["valid"][metric]
            if name != MODEL and test["value"] is None:
                continue  # such as the correlation of a constant
            limits = f"{shown(test['low'])} to {shown(test['high'])}"
            cells = [metric if name == MODEL else "", *((name,) if baselines else ())]
            table.add_row(*cells, shown(test["value"]), limits, shown(valid["value"]))
    return table


def shown(value: float | None, digits: int = 4) -> str:
    """Format a number for a person."""
    return "undefined" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def finite(value: float) -> float | None:
    """Return a number as JSON knows it: None for NaN and infinities."""
    return value if math.isfinite(value) else None
