"""Regression: one number per sequence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dnamamba.errors import UserError
from dnamamba.heads.base import Head, texts
from dnamamba.heads.metrics import pearson, r_squared, rmse, spearman

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


class Regression(Head):
    """Squared error in units of the training targets' spread; labels are float64 [n, 1]."""

    reads = "number"
    dtype = torch.float64
    scores = ("pearson", "spearman", "r2", "rmse")
    lower_is_better = ("loss", "rmse")
    headline = "pearson"
    most = 1
    constant = "mean"
    linear = "ridge"

    @classmethod
    def unit(cls, targets: NDArray[np.generic]) -> tuple[float, float]:
        """Return mean and standard deviation of the training targets."""
        exact = targets.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            # A checkpoint of before targets were float64 has the mean and spread of float32 numbers, and is
            # resumed only with the same. Where float32 would lose the spread there is no such checkpoint.
            single = exact.astype(np.float32).astype(np.float64)
            spread = float(exact.std())
            values = single if float(np.abs(single - exact).max()) <= 0.1 * spread else exact
            shift, scale = float(values.mean()), float(values.std())
        if exact.min() != exact.max() and not spread > 0:
            raise UserError(
                f"the training targets are too close to square their differences (got {exact.min():g} to "
                f"{exact.max():g}); rescale them"
            )
        if exact.min() == exact.max():
            raise UserError(f"all {len(exact):,} training targets are {exact[0, 0]:g}: nothing to learn")
        if not (math.isfinite(shift) and math.isfinite(scale)):
            largest = np.abs(exact).max()
            raise UserError(f"the training targets are too large to square (got {largest:g}); rescale them")
        return shift, scale

    def check_smoothing(self, smoothing: float) -> None:
        """Refuse any."""
        if smoothing:
            raise UserError("task.label_smoothing: a regression has no labels to smooth")

    def class_weights(self, given: Any, counts: list[int], total: int) -> None:
        """Refuse any. See `Head.class_weights`."""
        if given is not None:
            raise UserError("task.class_weights: a regression has no classes")

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the squared error of the standardised number, [B]. See `Head.loss`."""
        # Standardised before it is rounded to the precision of the logits: 10,000.3 has few digits there.
        wanted = ((labels - self.decoder.shift) / self.decoder.scale).to(logits.dtype)
        return (logits - wanted).square().mean(1)

    def predict(self, logits: Tensor) -> Tensor:
        """Return the number, in the unit of the labels."""
        return self.decoder.shift + self.decoder.scale * logits

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Return correlations, the share of variance explained, and the root of the mean squared error."""
        if self.not_finite(logits):
            return dict.fromkeys(self.scores, math.nan)
        predicted, truth = self.predict(logits.double())[:, 0], labels[:, 0].double()
        return {
            "pearson": pearson(predicted, truth),
            "spearman": spearman(predicted, truth),
            "r2": r_squared(predicted, truth),
            "rmse": rmse(predicted, truth),
        }

    def notes(self, logits: Tensor, labels: Tensor) -> list[str]:
        """Name columns of numbers that do not differ."""
        if lost := self.not_finite(logits):
            return lost
        if labels.min() == labels.max():
            return [f"all {len(labels):,} target(s) are equal: pearson, spearman and r2 are undefined"]
        predicted = self.predict(logits.double())
        if predicted.min() == predicted.max():
            return ["all predictions are equal: pearson and spearman are undefined"]
        return []

    def columns(self) -> list[str]:
        """Return the number alone."""
        return ["predicted"]

    def cells(self, logits: Tensor) -> list[str]:
        """Return the number, with all its digits."""
        return [self.answer(logits)]

    def answer(self, logits: Tensor) -> str:
        """Return the number, with all its digits."""
        return texts(self.predict(logits.double()))[0]

    def written(self, label: Tensor) -> str:
        """Return the number, with all its digits."""
        return texts(label)[0]

    def picture(self, logits: Tensor, labels: Tensor, title: str) -> Figure:
        """Plot predicted against measured numbers. See `Head.picture`."""
        from dnamamba.reports.figures import regression_scatter

        return regression_scatter(labels[:, 0].tolist(), self.predict(logits)[:, 0].tolist(), title)
