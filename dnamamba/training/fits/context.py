"""Which class is this base, by the bases around it: logistic regression on one-hot vectors of a few."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.stateless import random_bits
from dnamamba.data.words import one_hot
from dnamamba.training.fits.linear import Linear, fit_linear

Bases = NDArray[np.uint8]
FLANK = 12  # bases to either side
PER_CLASS = 2_000  # bases of each class that are read
_PENALTIES = (0.1, 0.01, 1e-3)
_ROWS = 1 << 16
UNKNOWN = 5


class ContextLogistic:
    """A linear model of the bases around a base.

    As many bases of each class are read, so that rare ones are seen; the shares that the classes have are put
    back into the bias.

    Source: Prentice and Pyke, Biometrika 66, 403 (1979), for the bias.
    """

    def __init__(self, model: Linear, shift: Tensor) -> None:
        self.model, self.shift = model, shift

    def logits(self, bases: Bases) -> Tensor:
        """Return float32 [n, C] of bases, uint8 [n], the numbers of `base_table`."""
        parts = [
            (self.model.logits(_around(bases, np.arange(first, min(first + _ROWS, bases.size)))) + self.shift)
            for first in range(0, bases.size, _ROWS)
        ]
        return torch.cat(parts).float()


def fit_context(
    train: list[tuple[Bases, Bases]], valid: list[tuple[Bases, Bases]], classes: int
) -> ContextLogistic:
    """Return the model whose penalty is best on the validation bases.

    Args:
        train, valid: bases and classes of each record, uint8 [n] each, `IGNORED` among them.
        classes: number of them.
    """
    counts = np.zeros(256)
    for _, of in train:
        counts += np.bincount(of, minlength=256)
    counts = counts[:classes]
    features, labels = _sample(train, classes, PER_CLASS)
    taken = torch.bincount(labels, minlength=classes)
    held = _sample(valid, classes, PER_CLASS // 4)

    def loss(logits: Tensor, true: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(logits, true, reduction="none")

    model, _ = fit_linear((features, labels), held, classes, loss, _PENALTIES)
    shares = torch.from_numpy(counts / counts.sum()).clamp(min=1e-12).log()
    drawn = (taken.double() / taken.sum()).clamp(min=1e-12).log()
    return ContextLogistic(model, shares - drawn)


def _sample(records: list[tuple[Bases, Bases]], classes: int, most: int) -> tuple[Tensor, Tensor]:
    """Sample features and classes of at most so many bases per class, the same in every run."""
    rows, labels = [], []
    for number in range(classes):
        places = [(i, np.flatnonzero(of == number)) for i, (_, of) in enumerate(records)]
        total = sum(found.size for _, found in places)
        for record, found in places:
            if not found.size:  # a contig without a gene
                continue
            share = -(-most * found.size // max(1, total))
            order = np.argsort(random_bits(0, number, found), kind="stable")[:share]
            rows.append(_around(records[record][0], found[order]))
            labels.append(np.full(order.size, number, dtype=np.int64))
    return torch.cat(rows), torch.from_numpy(np.concatenate(labels))


def _around(bases: Bases, places: NDArray[np.int64]) -> Tensor:
    """Return one-hot vectors of the bases around some, float32 [n, (2 * FLANK + 1) * 4]."""
    padded = np.pad(bases, FLANK, constant_values=UNKNOWN)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * FLANK + 1)[places]
    if not len(windows):  # a record without a base of some class
        return torch.empty(0, (2 * FLANK + 1) * 4)
    return torch.from_numpy(one_hot(list(windows)))
