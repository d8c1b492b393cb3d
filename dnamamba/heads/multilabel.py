"""Multilabel classification: any of several labels, each predicted by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.heads.base import Head, named
from dnamamba.heads.metrics import confusion_counts, f1, matthews, mean_of_defined, rankings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Multilabel(Head):
    """Binary cross-entropy, the mean over the labels; labels are 0 or 1, float32 [n, C].

    A label is predicted where its logit is above 0, its probability above one half. Accuracy, F1, AUROC and
    AUPRC are means over the labels, MCC is computed from the counts of all labels. A label that none of the
    sequences has counts in no metric, one that all of them have in all but AUROC.
    """

    reads = "labels"
    dtype = torch.float32
    scores = ("accuracy", "f1", "mcc", "auroc", "auprc")
    headline = "accuracy"
    picture_file = "confusion_matrix.png"
    constant = "majority of each label"
    linear = "logistic"

    def balanced(self, counts: list[int], total: int) -> list[float]:
        """Return the presence of a label counts as much as its absence."""
        return [(total - count) / count for count in counts]

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the mean binary cross-entropy, [B]. See `Head.loss`."""
        smoothed = labels * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=weights, reduction="none")
        return losses.mean(1)

    def predict(self, logits: Tensor) -> Tensor:
        """Return the probability of each label."""
        return logits.sigmoid()

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Return accuracy, F1, AUROC and AUPRC as means over the labels; Matthews correlation of all."""
        if self.not_finite(logits):
            return dict.fromkeys(self.scores, math.nan)
        occurs = (labels > 0).any(0)
        counts = self._counts(logits, labels)[occurs]
        if not len(counts):
            return dict.fromkeys(self.scores, math.nan)
        auroc, auprc = rankings(logits[:, occurs], labels[:, occurs] > 0)
        right = counts.diagonal(dim1=1, dim2=2).sum(1).double()
        return {
            "accuracy": (right / len(labels)).mean().item(),
            "f1": mean_of_defined(f1(counts)[:, 1]),
            "mcc": matthews(counts.sum(0)),
            "auroc": mean_of_defined(auroc),
            "auprc": mean_of_defined(auprc),
        }

    def notes(self, logits: Tensor, labels: Tensor) -> list[str]:
        """Name labels that no sequence has, or every one."""
        if lost := self.not_finite(logits):
            return lost
        number = (labels > 0).sum(0).tolist()
        pairs = list(zip(self.labels, number, strict=True))
        never = [label for label, count in pairs if not count]
        always = [label for label, count in pairs if count == len(labels)]
        notes = [f"no sequence has label {named(never)}: left out of every metric"] if never else []
        if always:
            notes.append(f"every sequence has label {named(always)}: left out of auroc")
        if always and len(always) + len(never) == len(pairs):
            notes.append("no label tells the sequences apart: mcc and auroc are undefined")
        return notes

    def confusion(self, logits: Tensor, labels: Tensor) -> list:
        """Return counts, [label][true][predicted]."""
        return self._counts(logits, labels).tolist()

    def answer(self, logits: Tensor) -> str:
        """Return names of the labels that are predicted."""
        return self.written(logits > 0)

    def written(self, label: Tensor) -> str:
        """Return names of the labels, joined by `;`."""
        return ";".join(name for name, value in zip(self.labels, label.tolist(), strict=True) if value)

    def picture(self, logits: Tensor, labels: Tensor, title: str) -> Figure:
        """Plot how often each label was found, missed, and predicted in error. See `Head.picture`."""
        from dnamamba.reports.figures import confusion_matrix

        return confusion_matrix(self.confusion(logits, labels), self.labels, title)

    def _counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Count true against predicted per label, int64 [C, 2, 2]."""
        columns = zip(logits.T, labels.T, strict=True)
        return torch.stack([confusion_counts((z > 0).long(), (y > 0).long(), 2) for z, y in columns])
