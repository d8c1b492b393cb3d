"""A closed-form linear discriminant, from sums over the features of each class.

Fisher 1936, "The use of multiple measurements in taxonomic problems"; the covariance shrunk towards a
multiple of the identity as by Friedman 1989, "Regularized discriminant analysis".
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.errors import UserError
from dnamamba.kernels.exact import exact, exact_zeros

# A feature that varies by less of its size than this is a constant in float32.
_ROUNDING = 1e-6


class Discriminant:
    """Adds up features batch by batch, in float64, and gives the weights of a linear classifier.

    Memory is that of a square matrix, d x d, however many samples there are.

    Args:
        classes: how many.
        size: features of a sample, d.
        device: where the features will be.

    Attributes:
        counts: float64 [classes], samples of each class so far.
    """

    def __init__(self, classes: int, size: int, device: torch.device | str = "cpu") -> None:
        self.counts = exact_zeros(classes, device=device)
        self._sums = exact_zeros(classes, size, device=device)
        self._products = exact_zeros(size, size, device=device)
        self._origin: Tensor | None = None

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Count in samples: features [B, d] of any floating dtype, labels int64 [B]."""
        features, labels = exact(features), labels.to(self.counts.device)
        if self._origin is None:
            # Counted from a sample: a large mean then costs no digits, and a constant feature is exactly 0.
            self._origin = features[0].clone()
        features = features - self._origin
        belongs = exact(F.one_hot(labels, len(self.counts)))
        self.counts += belongs.sum(0)
        self._sums += belongs.T @ features
        self._products += features.T @ features

    def solve(self, shrinkage: float, *, priors: bool = True) -> tuple[Tensor, Tensor]:
        """Weight [classes, d] and bias [classes] in float64, on the CPU: logits are weight x + bias.

        The sums stay as they are: more may be added afterwards.

        Features are standardised by their standard deviation over all samples; S is the covariance within
        the classes, pooled, and shrunk to (1 - a) S + a (trace(S) / d) I. A logit is then the logarithm of
        the posterior of Gaussians with that covariance, up to a number that is the same for all classes. A
        feature that does not vary has weight 0.

        Args:
            shrinkage: a, above 0 and up to 1.
            priors: whether a class counts by its share of the samples; else all count the same.

        Raises:
            UserError: no two samples of a class differ, so that there is no spread to measure.
        """
        assert self._origin is not None, "no sample was added"
        origin, counts, sums, products = (
            tensor.cpu() for tensor in (self._origin, self.counts, self._sums, self._products)
        )
        assert (counts > 0).all(), "a class without samples"
        number = counts.sum()
        mean = sums.sum(0) / number
        deviation = (products.diagonal() / number - mean.square()).clamp(min=0).sqrt()
        varies = deviation > _ROUNDING * (origin + mean).abs()
        deviation, size = deviation[varies], int(varies.sum())

        # Of features that are counted from their overall mean: of weights that say the same of every class,
        # which softmax does not see, only rounding would be left in float32.
        means = (sums / counts[:, None] - mean)[:, varies] / deviation
        total = (products / number - mean.outer(mean))[varies][:, varies] / deviation.outer(deviation)
        between = (counts[:, None] * means).T @ means / number
        within = (total - between) * number / (number - len(counts)).clamp(min=1)
        spread = within.trace() / max(1, size)
        if not spread > 0:
            raise UserError(
                "task.fit=closed: no two training windows of a class differ in what the head reads, so there "
                "is no spread to measure; raise train.max_steps"
            )
        within = (1 - shrinkage) * within + shrinkage * spread * torch.eye(size, dtype=torch.float64)
        solved = torch.linalg.solve(within, means.T).T

        weight = torch.zeros_like(sums)
        weight[:, varies] = solved / deviation
        bias = -(means * solved).sum(1) / 2 - weight @ (origin + mean)
        return weight, bias + (counts / number).log() if priors else bias
