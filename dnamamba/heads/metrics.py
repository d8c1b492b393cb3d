"""Metrics in float64, of scores that do not saturate; NaN where a set of sequences defines none.

Not torchmetrics' (1.9): it divides counts in float32, takes the variance of R2 as a difference of two large
sums, ranks by probabilities, whose largest are equal, and counts a class without examples as 0.
"""

import math

import numpy as np
import torch
from torch import Tensor


def confusion_counts(predicted: Tensor, labels: Tensor, size: int) -> Tensor:
    """Count true against predicted classes, int64 [true, predicted].

    Args:
        predicted, labels: int64 [n], below `size`.
        size: number of classes.
    """
    return torch.bincount(labels * size + predicted, minlength=size * size).reshape(size, size)


def f1(counts: Tensor) -> Tensor:
    """Return F1 of each class against all others, float64 [..., C]; NaN of a class without an example.

    Args:
        counts: int64 [..., C, C], see `confusion_counts`.
    """
    return f1_of(counts.diagonal(dim1=-2, dim2=-1), counts.sum(-1), counts.sum(-2))


def f1_of(right: Tensor, true: Tensor, predicted: Tensor) -> Tensor:
    """Return `f1` of numbers of examples per class.

    Args:
        right: of the class, and predicted to be, [..., C].
        true: of the class, [..., C].
        predicted: to be of the class, [..., C].
    """
    return torch.where(true > 0, 2 * right.double() / (true + predicted).double(), math.nan)


def matthews(counts: Tensor) -> float:
    """Return Matthews correlation of two or more classes; 0 where all is predicted to be one class.

    NaN where all examples are of one class: there is nothing to correlate with.

    Args:
        counts: int64 [C, C], see `confusion_counts`.

    Source: Gorodkin, Comput. Biol. Chem. 28, 367 (2004), equation 8.
    """
    return matthews_of(int(counts.diagonal().sum()), counts.sum(1).tolist(), counts.sum(0).tolist())


def matthews_of(right: int, true: list[int], predicted: list[int]) -> float:
    """Return `matthews` of the number of examples that are right, and of those of each class.

    Args:
        right: examples.
        true, predicted: examples of each class, and what was said of them.
    """
    total = sum(true)
    # Python's integers are exact, however many sequences there are.
    covariance = right * total - sum(t * p for t, p in zip(true, predicted, strict=True))
    of_true = total * total - sum(t * t for t in true)
    of_predicted = total * total - sum(p * p for p in predicted)
    if not of_true:
        return math.nan
    return covariance / math.sqrt(of_true * of_predicted) if of_predicted else 0.0


def log_odds(logits: Tensor) -> Tensor:
    """Return log p - log(1 - p) of each class, [n, C], from logits [n, C] and without rounding p to 1.

    The same numbers in another order give the same odds, to the last bit: equal scores are one threshold.
    """
    ordered = logits.sort(-1, descending=True).values
    below, ordered = logits - ordered[..., :1], ordered - ordered[..., :1]
    shares = below.exp()
    # The others of any class but the top one include the top one, whose share is 1: nothing cancels.
    others = (ordered.exp().sum(-1, keepdim=True) - shares).log()
    rest = ordered[..., 1:].logsumexp(-1, keepdim=True)
    return below - torch.where(below == 0, rest, others)


def log_odds_of(logits: Tensor, number: int) -> Tensor:
    """Return log p - log(1 - p) of one class, [...], from logits [..., C], with gradients.

    Args:
        logits: of two classes or more.
        number: of the class.
    """
    others = torch.arange(logits.shape[-1], device=logits.device) != number
    return logits[..., number] - logits[..., others].logsumexp(-1)


def rankings(scores: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return AUROC and AUPRC of each column, both float64 [C].

    AUROC is NaN where all examples are true or none is, AUPRC where none is.

    Args:
        scores: [n, C].
        true: bool [n, C].
    """
    pairs = [ranking(*column) for column in zip(scores.T, true.T, strict=True)]
    auroc, auprc = torch.tensor(pairs, dtype=torch.float64).T
    return auroc, auprc


def ranking(scores: Tensor, true: Tensor) -> tuple[float, float]:
    """Return the area under the ROC curve, and average precision; equal scores are one threshold.

    The first is the share of pairs of a true and another example in which the true one scores higher, pairs
    of equal scores counted one half; the second the mean over the true examples of the precision among those
    that score at least as high.

    Args:
        scores: [n].
        true: bool [n].

    Source: Fawcett, Pattern Recognit. Lett. 27, 861 (2006); average precision as in scikit-learn.
    """
    # Sorted values, without the order: numpy sorts these several times faster than torch sorts both.
    every, own = np.sort(scores.numpy()), np.sort(scores[true].numpy())
    number, others = len(own), len(every) - len(own)
    if not number:
        return math.nan, math.nan
    lower, own_lower = (np.searchsorted(of, own, "left") for of in (every, own))
    equal, own_equal = (np.searchsorted(of, own, "right") for of in (every, own))
    # Twice the pairs that a true example wins; those of equal scores count once. Whole numbers are exact.
    beaten = int(lower.sum() - own_lower.sum() + equal.sum() - own_equal.sum())
    precision = ((number - own_lower) / (len(every) - lower)).mean().item()
    return beaten / 2 / (number * others) if others else math.nan, precision


def resampled_ranking(scores: Tensor, true: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Return `ranking` of draws, float64 [S] each: sorted once for all of them.

    Args:
        scores: [n].
        true: bool [n].
        times: float64 [S, n], how often a draw has each example.
    """
    scores, order = scores.sort(descending=True)
    last_of_equals = torch.ones(len(scores), dtype=torch.bool)
    last_of_equals[:-1] = scores[1:] != scores[:-1]
    drawn = times[:, order]
    found = (drawn * true[order]).cumsum(1)[:, last_of_equals]
    taken = drawn.cumsum(1)[:, last_of_equals]
    wrong = taken - found
    zero = torch.zeros(len(times), 1, dtype=torch.float64)
    more_found, more_wrong = found.diff(prepend=zero), wrong.diff(prepend=zero)
    number, others = found[:, -1], wrong[:, -1]
    precision = (more_found * found / taken.clamp(min=1)).sum(1) / number
    area = (more_wrong * (found - more_found / 2)).sum(1) / (number * others)
    return area, precision  # 0 / 0 is NaN, as it should be


def mean_of_defined(values: Tensor) -> float:
    """Return the mean of values [n] that are not NaN; NaN if all are."""
    return values.nanmean().item()


def pearson(predicted: Tensor, truth: Tensor) -> float:
    """Return the correlation of two lists of numbers, float64 [n]; NaN where one of them does not vary."""
    if _constant(predicted) or _constant(truth):
        return math.nan
    p, y = (_centred(values) for values in (predicted, truth))
    p, y = p / p.abs().max(), y / y.abs().max()  # or the squares of tiny numbers would be 0
    return (p @ y / math.sqrt((p @ p).item() * (y @ y).item())).clamp(-1, 1).item()


def spearman(predicted: Tensor, truth: Tensor) -> float:
    """Return the rank correlation of two lists, float64 [n]; equal numbers share their mean rank."""
    return pearson(ranks(predicted), ranks(truth))


def ranks(values: Tensor) -> Tensor:
    """Return ranks from 1, float64 [n]; equal values have the mean of theirs."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]


def r_squared(predicted: Tensor, truth: Tensor) -> float:
    """Return the explained share of the variance of `truth`, both float64 [n]; NaN if it does not vary."""
    if _constant(truth):
        return math.nan
    varies = _centred(truth)
    size = varies.abs().max()  # or the squares of tiny numbers would be 0
    return 1 - (((predicted - truth) / size).square().sum() / (varies / size).square().sum()).item()


def rmse(predicted: Tensor, truth: Tensor) -> float:
    """Return the root of the mean squared error of two lists, float64 [n]."""
    return math.sqrt((predicted - truth).square().mean().item())


def _centred(values: Tensor) -> Tensor:
    """Subtract the mean. The second pass takes away what rounding left of the first."""
    centred = values - values.mean()
    return centred - centred.mean()


def _constant(values: Tensor) -> bool:
    return bool(values.min() == values.max())
