"""Classification: one of several classes per sequence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.heads.base import Head, named
from dnamamba.heads.metrics import (
    confusion_counts,
    f1,
    f1_of,
    log_odds,
    matthews,
    matthews_of,
    mean_of_defined,
    rankings,
    resampled_ranking,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Classification(Head):
    """Cross-entropy over classes; labels are int64 [n].

    F1, AUROC and AUPRC are means over the classes that the sequences have, each class against all others.
    AUROC and AUPRC rank by the logarithm of the odds, which tells apart what a probability rounds to 1.
    """

    reads = "class"
    dtype = torch.int64
    scores = ("accuracy", "f1", "mcc", "auroc", "auprc")
    headline = "accuracy"
    fewest = 2
    picture_file = "confusion_matrix.png"
    constant = "majority class"
    linear = "logistic"

    def balanced(self, counts: list[int], total: int) -> list[float]:
        """Return weights with which every class counts the same; 1 on average over the sequences."""
        return [total / (len(counts) * count) for count in counts]

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the cross-entropy, [B]. See `Head.loss`."""
        return F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing, reduction="none")

    def predict(self, logits: Tensor) -> Tensor:
        """Return probabilities of the classes."""
        return logits.softmax(-1)

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Return accuracy, macro F1, Matthews correlation, macro AUROC and AUPRC."""
        if self.not_finite(logits):
            return dict.fromkeys(self.scores, math.nan)
        counts = self._counts(logits, labels)
        true = torch.arange(len(self.labels)) == labels[:, None]
        auroc, auprc = rankings(log_odds(logits.double()), true)
        return {
            "accuracy": int(counts.diagonal().sum()) / len(labels),
            "f1": mean_of_defined(f1(counts)),
            "mcc": matthews(counts),
            "auroc": mean_of_defined(auroc),
            "auprc": mean_of_defined(auprc),
        }

    def resampled(
        self, logits: Tensor, labels: Tensor, times: Tensor
    ) -> tuple[dict[str, Tensor], int] | None:
        """Return the metrics of draws, and how many miss a class. See `Head.resampled`."""
        if self.not_finite(logits):
            return None
        size = len(self.labels)
        answers = logits.argmax(-1)
        said, there = (times @ F.one_hot(of, size).double() for of in (answers, labels))
        # Of many classes no table of all pairs would fit the memory.
        found_ones = F.one_hot(labels, size).double() * (answers == labels)[:, None]
        right = times @ found_ones
        odds = log_odds(logits.double())
        areas = [resampled_ranking(odds[:, one], labels == one, times) for one in range(size)]
        auroc, auprc = (torch.stack(columns, 1).nanmean(1) for columns in zip(*areas, strict=True))
        found = {
            "accuracy": right.sum(1) / len(labels),
            "f1": f1_of(right, there, said).nanmean(1),
            "mcc": torch.tensor(
                list(map(matthews_of, *(of.long().tolist() for of in (right.sum(1), there, said)))),
                dtype=torch.float64,
            ),
            "auroc": auroc,
            "auprc": auprc,
        }
        return found, int((there == 0).any(1).sum())

    def notes(self, logits: Tensor, labels: Tensor) -> list[str]:
        """Name classes without a sequence."""
        if lost := self.not_finite(logits):
            return lost
        present = torch.bincount(labels, minlength=len(self.labels)) > 0
        absent = [label for label, there in zip(self.labels, present.tolist(), strict=True) if not there]
        notes = [f"no sequence of class {named(absent)}: left out of f1, auroc and auprc"] if absent else []
        if len(self.labels) - len(absent) == 1:
            notes.append("all sequences are of one class: mcc and auroc are undefined")
        return notes

    def confusion(self, logits: Tensor, labels: Tensor) -> list:
        """Return counts, [true][predicted]."""
        return self._counts(logits, labels).tolist()

    def answer(self, logits: Tensor) -> str:
        """Return the most probable class."""
        return self.labels[int(logits.argmax())]

    def written(self, label: Tensor) -> str:
        """Return the name of the class."""
        return self.labels[int(label)]

    def picture(self, logits: Tensor, labels: Tensor, title: str) -> Figure:
        """Draw the confusion matrix. See `Head.picture`."""
        from dnamamba.reports.figures import confusion_matrix

        return confusion_matrix(self.confusion(logits, labels), self.labels, title)

    def _counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        return confusion_counts(logits.argmax(-1), labels, len(self.labels))
