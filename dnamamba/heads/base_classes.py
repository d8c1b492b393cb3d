"""One of several classes per base: genes, exons, codon positions, splice sites."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.errors import UserError
from dnamamba.heads.metrics import confusion_counts, f1, log_odds, matthews, mean_of_defined, ranking
from dnamamba.heads.positions import PositionHead

if TYPE_CHECKING:
    from dnamamba.models.positions import PositionConfig

IGNORED = 255
_ROWS = 1 << 18  # bases whose scores are worked out at a time
_VALUES = 1 << 27  # scores that are kept at a time


class BaseClasses(PositionHead):
    """Cross-entropy over classes; targets are uint8, of which `IGNORED` counts nowhere.

    F1 and AUPRC are means over the classes that the bases have, each class against all others.
    """

    scores = ("accuracy", "f1", "mcc", "auprc")
    headline = "f1"

    @classmethod
    def check(cls, decoder: PositionConfig) -> None:
        """Refuse bins and other losses. See `PositionHead.check`."""
        if (
            not isinstance(decoder.chain, bool)
            or decoder.bin != 1
            or decoder.loss != "cross_entropy"
            or len(decoder.labels) < 2
        ):
            raise UserError(
                "decoder: classes are asked of every base (bin=1, loss=cross_entropy), two or more"
            )
        if decoder.means or decoder.scaling != "none":
            raise UserError(
                "decoder.means, decoder.scaling: are of a signal, and classes have none (got "
                f"{list(decoder.means)}, {decoder.scaling}); use another copy"
            )

    @property
    def loss_names(self) -> tuple[str, str] | None:
        """Of a chain: that of the whole path of classes, and that of each base's class by itself."""
        return ("-ln P(path) per base", "-ln P(class) per base") if self.decoder.chain else None

    def loss_sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return cross-entropy in nats, each base's times the weight of its class."""
        return F.cross_entropy(
            logits.float().flatten(0, -2),
            targets.long().flatten(),
            weight=weights,
            ignore_index=IGNORED,
            reduction="sum",
        )

    def number(self, targets: Tensor) -> Tensor:
        """Count the bases that have a class."""
        return (targets != IGNORED).sum()

    def predict(self, logits: Tensor) -> Tensor:
        """Return probabilities of the classes."""
        return logits.softmax(-1)

    def metrics(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return accuracy, macro F1, Matthews correlation and macro AUPRC."""
        return self.measured(logits, targets)[0]

    def per_label(self, logits: Tensor, targets: Tensor) -> list[dict[str, Any]]:
        """Compute bases, precision, recall, F1 and AUPRC per class; NaN where undefined."""
        return self.measured(logits, targets)[1]

    def measured(self, logits: Tensor, targets: Tensor) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Return both, each class ranked once. See `PositionHead.measured`."""
        whole = self.confusion(logits, targets)
        auprc = torch.tensor(list(self._auprc(logits, targets)), dtype=torch.float64)
        total = int(whole.sum())
        metrics = {
            "accuracy": int(whole.diagonal().sum()) / total if total else math.nan,
            "f1": mean_of_defined(f1(whole)),
            "mcc": matthews(whole),
            "auprc": mean_of_defined(auprc),
        }
        counts = whole.double()
        right, true, called = counts.diagonal(), counts.sum(1), counts.sum(0)
        columns = {
            "bases": true.long(),
            "precision": right / called,
            "recall": right / true,
            "f1": f1(counts.long()),
            "auprc": auprc,
        }
        rows = [
            {"label": label, **{name: values[place].item() for name, values in columns.items()}}
            for place, label in enumerate(self.labels)
        ]
        return metrics, rows

    def confusion(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return counts, int64 [true, predicted]."""
        there = targets != IGNORED
        return confusion_counts(logits.argmax(-1)[there], targets[there].long(), len(self.labels))

    def statistics(self, logits: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the confusion counts of each block. See `PositionHead.statistics`."""
        blocks = zip(logits.split(sizes), targets.split(sizes), strict=True)
        return torch.stack([self.confusion(*block).flatten().double() for block in blocks])

    def from_statistics(self, sums: Tensor) -> dict[str, Tensor]:
        """Return what follows from counts. See `PositionHead.from_statistics`."""
        counts = sums.reshape(len(sums), len(self.labels), -1)
        return {
            "accuracy": counts.diagonal(dim1=1, dim2=2).sum(1) / counts.sum((1, 2)),
            "f1": f1(counts).nanmean(1),
        }

    def class_weights(self, given: Any, counts: list[int], total: int) -> Tensor | None:
        """Return weights: `balanced`, `root` (its square root), or one per class. See `PositionHead`."""
        if given is None:
            return None
        if given in ("balanced", "root"):
            shares = torch.tensor(counts, dtype=torch.float64).clamp(min=1) / total
            weights = shares ** (-1 if given == "balanced" else -0.5)
            # 1 on average over the bases, so that the learning rate keeps its meaning.
            return (weights / (weights * shares).sum()).float()
        if not isinstance(given, dict) or {str(label) for label in given} != set(self.labels):
            raise UserError(
                "task.class_weights: must be null, balanced, root or a weight for each of "
                f"{', '.join(self.labels)} (got {given!r})"
            )
        named = {str(label): value for label, value in given.items()}
        if not all(isinstance(one, int | float) and 0 < one < math.inf for one in named.values()):
            raise UserError(f"task.class_weights: must be positive numbers (got {given!r})")
        return torch.tensor([float(named[label]) for label in self.labels])

    def _auprc(self, logits: Tensor, targets: Tensor) -> Iterator[float]:
        """Compute it per class, ranked by log odds in float64, since probabilities round to 1."""
        there = targets != IGNORED
        logits, targets = logits[there], targets[there]
        # Of all classes at once, as many as some memory holds: one class costs as much to work out as all.
        together = max(1, _VALUES // max(1, len(logits)))
        for some in torch.arange(len(self.labels)).split(together):
            parts = [log_odds(part.double())[:, some].T for part in logits.split(_ROWS)]
            scores = torch.cat(parts, 1) if parts else torch.empty(len(some), 0, dtype=torch.float64)
            for label, row in zip(some.tolist(), scores, strict=True):
                yield ranking(row, targets == label)[1] if len(row) else math.nan
