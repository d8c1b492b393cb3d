"""Bootstrap intervals of metrics."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dnamamba.heads.base import Head

AT_ONCE = 1 << 20  # sequences of all draws that are worked out together


class Bootstrap(NamedTuple):
    """What came out of resampling.

    Attributes:
        intervals: of each metric over the draws that define it, see `interval`; NaN of none.
        incomplete: draws of which a metric leaves something out, see `Head.notes`.
    """

    intervals: dict[str, tuple[float, float]]
    incomplete: int


class Draws(NamedTuple):
    """Metrics of resampled sequences.

    Attributes:
        values: float64 [samples] of each metric; NaN where a draw does not define it.
        incomplete: see `Bootstrap`.
    """

    values: dict[str, Tensor]
    incomplete: int

    def summary(self, metrics: dict[str, float]) -> Bootstrap:
        """Return the intervals around `metrics`, those of the sequences as they are."""
        intervals = {name: interval(values, metrics[name]) for name, values in self.values.items()}
        return Bootstrap(intervals, self.incomplete)


def bootstrap(head: Head, logits: Tensor, labels: Tensor, samples: int, seed: int = 0) -> Bootstrap:
    """Return the intervals of `draw`.

    Args:
        head: computes the metrics.
        logits: [n, C].
        labels: [n] or [n, C].
        samples: number of draws.
        seed: of the draws.
    """
    return draw(head, logits, labels, samples, seed).summary(head.metrics(logits, labels))


def draw(head: Head, logits: Tensor, labels: Tensor, samples: int, seed: int = 0) -> Draws:
    """Resample n sequences with replacement, `samples` times.

    A draw that misses a class says nothing about it: the metrics leave it out, as they do of any set. Of the
    same seed and n the draws are the same: differences between two models are paired.

    Args:
        head: has the metrics.
        logits: float64 [n, C].
        labels: [n] or [n, C].
        samples: draws.
        seed: of the draws.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.full((samples,), math.nan, dtype=torch.float64) for name in head.scores}
    incomplete, number = 0, len(labels)
    for some in torch.arange(samples).split(max(1, AT_ONCE // number)):
        rows = [torch.randint(number, (number,), generator=generator) for _ in some]
        times = torch.stack([torch.bincount(row, minlength=number) for row in rows]).double()
        together = head.resampled(logits, labels, times)
        if together is not None:
            for name, values in together[0].items():
                found[name][some] = values
            incomplete += together[1]
            continue
        for place, row in zip(some.tolist(), rows, strict=True):
            drawn, theirs = logits[row], labels[row]
            for name, value in head.metrics(drawn, theirs).items():
                found[name][place] = value
            incomplete += bool(head.notes(drawn, theirs))
    return Draws(found, incomplete)


def interval(values: Tensor, value: float = math.nan) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of draws, widened where the metric itself lies outside.

    Of few sequences it may: draws repeat sequences and lack a class, which moves their metrics to one side
    (AUPRC of a poor ranking only rises). Widened, the interval holds at least as many draws as it says.

    Args:
        values: float64 [samples], NaN where a draw does not define the metric.
        value: the metric of the sequences as they are; NaN: unknown.

    Returns:
        The two ends; NaN if no draw defines the metric.
    """
    low, high = values.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    if math.isnan(low) or math.isnan(value):
        return low, high
    return min(low, value), max(high, value)
