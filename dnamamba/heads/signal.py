"""Numbers per bin: coverage, accessibility, scores. Predicted are positive means or (`mse`) any numbers.

The model's output z of a track is taken as exp(z) times the track's mean (of `mse`: z plus the mean), in the
unit in which it is trained: the signal itself, its logarithm log(1 + y) or its square root.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.data.signal import LOSSES, SCALINGS
from dnamamba.errors import UserError
from dnamamba.heads.metrics import mean_of_defined, pearson, spearman
from dnamamba.heads.positions import PositionHead

if TYPE_CHECKING:
    from dnamamba.models.positions import PositionConfig

_LARGEST = 30.0  # of a logarithm, before it is an exponent
_SMALLEST_MEAN = 1e-3
_ROUNDING = 1e-12  # of a sum of squares: less of it is a variance of nothing


class Signal(PositionHead):
    """A loss over bins; targets are float32 [..., T] in the signal's unit, NaN where nothing was measured.

    `multinomial` compares the shape of a window (a multinomial over its bins) and its total (Poisson) apart,
    the second with `count_weight`. Pearson's and Spearman's correlations are across positions, in the
    signal's own unit; the metric is the mean over tracks.

    Source: Cameron and Trivedi, Regression Analysis of Count Data (1998), for Poisson and NB2; Avsec et al.,
    Nat. Genet. 53, 354 (2021), for shape and total.
    """

    scores = ("pearson", "spearman", "rmse")
    lower_is_better = ("loss", "rmse")
    headline = "pearson"

    @classmethod
    def check(cls, decoder: PositionConfig) -> None:
        """Refuse unknown losses and scalings. See `PositionHead.check`."""
        if decoder.loss not in LOSSES:
            raise UserError(f"data.loss: must be one of {', '.join(LOSSES)} (got {decoder.loss!r})")
        if decoder.scaling not in SCALINGS:
            raise UserError(f"data.scaling: must be one of {', '.join(SCALINGS)} (got {decoder.scaling!r})")
        if len(decoder.means) != len(decoder.labels) or decoder.chain:
            raise UserError("decoder: tracks have a mean each, and no chain")

    @property
    def divisible(self) -> bool:
        """Whether no bin's loss depends on another's."""
        return self.decoder.loss != "multinomial"

    @property
    def outputs(self) -> int:
        """Of a negative binomial, each track's dispersion too."""
        return len(self.labels) * (2 if self.decoder.loss == "negative_binomial" else 1)

    def loss_sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the losses of the bins that were measured; a track's times its weight."""
        if self.decoder.loss == "multinomial":
            return self._multinomial(logits, targets, weights)
        losses = self.losses(logits, targets)
        return (losses if weights is None else losses * weights).sum()

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss per bin and track, [..., T]; 0 where nothing was measured.

        Not for `multinomial`.
        """
        there = ~targets.isnan()
        y = self.scaled(targets.nan_to_num(0.0))
        mean = self._mean(logits)
        if self.decoder.loss == "mse":
            losses = (mean - y).square()
        elif self.decoder.loss == "poisson":
            losses = mean - y * mean.log()
        else:
            losses = _negative_binomial(y, mean, logits[..., len(self.labels) :])
        return torch.where(there, losses, 0.0)

    def _multinomial(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        there = ~targets.isnan()
        y = self.scaled(targets.nan_to_num(0.0))
        mean = self._mean(logits)
        expected = torch.where(there, mean, 0.0)
        total, sums = y.sum(-2), expected.sum(-2).clamp(min=1e-12)
        shape = -(y * (mean.log() - sums.log().unsqueeze(-2))).sum(-2)
        count = torch.where(there.any(-2), sums - total * sums.log(), 0.0)
        losses = shape + self.decoder.count_weight * count
        return (losses if weights is None else losses * weights).sum()

    def number(self, targets: Tensor) -> Tensor:
        """Count the measured bins of targets [..., T], over all tracks."""
        return (~targets.isnan()).sum()

    def scaled(self, values: Tensor) -> Tensor:
        """Return the signal [..., T] in the unit of the training."""
        if self.decoder.scaling == "log":
            return values.sign() * values.abs().log1p()
        return values.sign() * values.abs().sqrt() if self.decoder.scaling == "sqrt" else values

    def predict(self, logits: Tensor) -> Tensor:
        """Return predictions in the signal's own unit, [..., T]."""
        mean = self._mean(logits)
        if self.decoder.scaling == "log":
            return mean.sign() * mean.abs().expm1()
        return mean.sign() * mean.square() if self.decoder.scaling == "sqrt" else mean

    def _mean(self, logits: Tensor) -> Tensor:
        """Return the mean in the unit of the training."""
        own = logits[..., : len(self.labels)]
        means = torch.tensor(self.decoder.means, dtype=own.dtype, device=own.device)
        if self.decoder.loss == "mse":
            return own + means
        return own.clamp(max=_LARGEST).exp() * means.clamp(min=_SMALLEST_MEAN)

    def metrics(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Compute means over tracks of Pearson's and Spearman's correlation and root mean squared error."""
        return self.measured(logits, targets)[0]

    def measured(self, logits: Tensor, targets: Tensor) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Return both: the first are means of the second. See `PositionHead.measured`."""
        rows = self.per_label(logits, targets)
        columns = {
            name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in self.scores
        }
        return {name: mean_of_defined(values) for name, values in columns.items()}, rows

    def per_label(self, logits: Tensor, targets: Tensor) -> list[dict[str, Any]]:
        """Return each track's bins, both correlations and error; NaN where the signal does not vary."""
        found = self.predict(logits.double())
        rows = []
        for place, label in enumerate(self.labels):
            truth = targets[..., place].double()
            there = ~truth.isnan()
            p, y = found[..., place][there], truth[there]
            values = (pearson(p, y), spearman(p, y), (p - y).square().mean().sqrt().item()) if len(y) else ()
            named = dict(zip(self.scores, values or (math.nan,) * 3, strict=True))
            rows.append({"label": label, "bins": int(there.sum()), **named})
        return rows

    def statistics(self, logits: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return number, sums, squares and products of each track and block. See `PositionHead`."""
        y, p = targets.double(), self.predict(logits.double())
        there = ~y.isnan()
        # Less their own mean: sums of squares of large numbers would lose the digits that differ.
        y, p = (torch.where(there, values - _mean_of(values, there), 0.0) for values in (y, p))
        columns = torch.stack([there.double(), y, p, y * y, p * p, y * p], 1).flatten(1)
        return torch.stack([block.sum(0) for block in columns.split(sizes)])

    def from_statistics(self, sums: Tensor) -> dict[str, Tensor]:
        """Return Pearson's correlation, the mean over tracks. See `PositionHead.from_statistics`.

        A track counts where both its signal and its predictions vary.
        """
        n, y, p, yy, pp, yp = sums.reshape(len(sums), 6, -1).unbind(1)
        varies = [(squares * n - own * own, squares * n) for squares, own in ((yy, y), (pp, p))]
        # Of equal numbers rounding leaves a variance, and a correlation of it.
        there = torch.stack([spread > _ROUNDING * squares for spread, squares in varies]).all(0)
        both = varies[0][0].clamp(min=0).sqrt() * varies[1][0].clamp(min=0).sqrt()
        found = ((yp * n - y * p) / both).clamp(-1, 1)
        return {"pearson": torch.where(there, found, math.nan).nanmean(1)}

    def class_weights(self, given: Any, counts: list[int], total: int) -> Tensor | None:
        """Return a weight of each track, by name. See `PositionHead.class_weights`."""
        if given is None:
            return None
        names = {str(key) for key in given} if isinstance(given, dict) else set()
        good = names == set(self.labels) and all(
            isinstance(one, int | float) and 0 < one < math.inf for one in given.values()
        )
        if not good:
            raise UserError(
                f"task.class_weights: of tracks, null or a positive weight for each of "
                f"{', '.join(self.labels)} (got {given!r})"
            )
        weights = {str(key): float(value) for key, value in given.items()}
        return torch.tensor([weights[label] for label in self.labels])


def _mean_of(values: Tensor, there: Tensor) -> Tensor:
    """Return the mean of each column of values [n, T] where `there`, float64 [T]; 0 of none."""
    return torch.where(there, values, 0.0).sum(0) / there.sum(0).clamp(min=1)


def _negative_binomial(y: Tensor, mean: Tensor, outputs: Tensor) -> Tensor:
    """Compute -log P(y), variance mean + dispersion * mean ** 2; the dispersion is softplus of its output."""
    size = 1 / (F.softplus(outputs) + 1e-4)
    log_total = (size + mean).log()
    return (
        torch.lgamma(size)
        + torch.lgamma(y + 1)
        - torch.lgamma(y + size)
        - size * (size.log() - log_total)
        - y * (mean.log() - log_total)
    )
