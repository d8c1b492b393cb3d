"""What held-out targets cost a model: nats, targets and right answers, counted in float64 or whole numbers.

Not torchmetrics' Perplexity (1.9): it counts in float32, and takes the logarithm of probabilities that have
rounded to 0 or 1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from dnamamba.kernels.exact import exact, exact_device

_AT_ONCE = 1 << 16  # targets whose logits are float64 at a time


class ExactMetric(Metric):
    """A metric whose states are float64 and stay so, on the host for devices that have none."""

    full_state_update = False

    def _apply(self, fn: Any, exclude_state: Any = "") -> Metric:
        place = exact_device(fn(torch.zeros(1)).device)
        super()._apply(lambda state: state.to(place), exclude_state)
        return self


class Tally(ExactMetric):
    """Nats, targets and right answers, summed over batches and processes.

    Args:
        ignored: the target that counts nowhere.
    """

    sums: Tensor

    def __init__(self, ignored: int) -> None:
        super().__init__()
        self.ignored = ignored
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count in logits [..., V] and targets, int64 [...]."""
        flat, wanted = logits.flatten(0, -2), targets.flatten()
        for some, those in zip(flat.split(_AT_ONCE), wanted.split(_AT_ONCE), strict=True):
            self.sums += counted(some, those, self.ignored).to(self.sums.device)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return nats per target and the share of right answers, float64; NaN of no target."""
        nats, targets, right = self.sums
        return nats / targets, right / targets

    def named(self, headline: str) -> dict[str, Tensor]:
        """Return perplexity, bits per target under the name `headline`, and accuracy."""
        nats, accuracy = self.compute()
        return {"perplexity": nats.exp(), headline: nats / math.log(2), "accuracy": accuracy}


def counted(logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """Return nats, targets and right answers, float64 [3].

    Args:
        logits: [n, V].
        targets: int64 [n].
        ignored: the target that counts nowhere.
    """
    there = targets != ignored
    # The likeliest of equal logits is decided where they were computed, as in training.
    right = (logits.argmax(-1) == targets) & there
    chances = exact(logits).log_softmax(-1)
    there, own = there.to(chances.device), targets.clamp(min=0).to(chances.device)
    nats = -chances.gather(-1, own[:, None])[:, 0].masked_fill(~there, 0.0)
    columns = nats, there, right.to(chances.device)
    return torch.stack([column.double().sum() for column in columns])
