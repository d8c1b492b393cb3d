"""The contract of a head: how the answer to one question about a sequence is learnt, judged and written.

A head has no weights; those are the model's. It is given logits and labels, and knows nothing of batches,
processes or files. A head of your own is a subclass of this one, or of one of the package's three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from dnamamba.errors import UserError, missing
from dnamamba.heads.metrics import log_odds_of

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dnamamba.models.sequence import DecoderConfig


class Head:
    """One kind of answer.

    Args:
        decoder: the question: its labels, and of a number its shift and scale.

    Attributes:
        reads: how a label is written: `class`, a name; `labels`, any number of names joined by `;`; `number`.
        dtype: of the labels that `loss` and `metrics` are given.
        scores: names of the metrics, in the order of `metrics`.
        lower_is_better: those of `scores`, and `loss`, that a better model has less of.
        headline: the metric that a result is known by.
        fewest, most: labels that a question must have, and may have; None: any number.
        picture_file: name of what `picture` draws.
        constant, linear: what a constant answer is called, and a linear model under the head's loss.
    """

    reads: ClassVar[str]
    dtype: ClassVar[torch.dtype]
    scores: ClassVar[tuple[str, ...]]
    lower_is_better: ClassVar[tuple[str, ...]] = ("loss",)
    headline: ClassVar[str]
    fewest: ClassVar[int] = 1
    most: ClassVar[int | None] = None
    picture_file: ClassVar[str] = "predictions.png"
    constant: ClassVar[str] = "constant"
    linear: ClassVar[str] = "linear"

    def __init__(self, decoder: DecoderConfig) -> None:
        self.decoder = decoder
        self.labels = decoder.labels

    @classmethod
    def check(cls, decoder: DecoderConfig) -> None:
        """Check that the head has as many labels as it needs, all different, and no field of another head.

        Raises:
            UserError: it has too few labels or too many, one of them twice, or a unit or targets that it
                does not use.
        """
        labels = decoder.labels
        if cls.most is not None and len(labels) > cls.most:
            raise UserError(
                f"decoder.labels: must be at most {cls.most} for decoder.kind={decoder.kind} (got "
                f"{', '.join(labels)}); use another copy"
            )
        if len(labels) < cls.fewest or len(set(labels)) != len(labels):
            raise UserError(
                f"decoder.labels: must be at least {cls.fewest} and all different (got {', '.join(labels)})"
            )
        if decoder.tasks is not None and cls.reads != "targets":
            raise UserError(
                f"decoder.tasks: are of several targets, and decoder.kind={decoder.kind} has one; remove them"
            )
        for key, unit in (("shift", 0.0), ("scale", 1.0)):
            found = getattr(decoder, key)
            if found != unit and cls.unit.__func__ is Head.unit.__func__:  # type: ignore[attr-defined]
                raise UserError(
                    f"decoder.{key}: is of numbers, and decoder.kind={decoder.kind} has {unit:g} (got "
                    f"{found:g}); use another copy"
                )

    @classmethod
    def unit(cls, targets: NDArray[np.generic]) -> tuple[float, float]:
        """Shift and scale of a question whose training targets are these, [n, ...].

        Raises:
            UserError: there is nothing to learn.
        """
        return 0.0, 1.0

    def check_smoothing(self, smoothing: float) -> None:
        """Check that labels can be smoothed.

        Raises:
            UserError: they can't.
        """

    def class_weights(self, given: Any, counts: list[int], total: int) -> Tensor | None:
        """Return the weight of each label in the loss, float32 [C]; None weighs all the same.

        Args:
            given: None; `balanced`; or a weight of each label, by name.
            counts: training sequences of each label.
            total: training sequences.

        Raises:
            UserError: `given` is something else.
        """
        if given is None:
            return None
        if given == "balanced":
            return torch.tensor(self.balanced(counts, total))
        if not isinstance(given, dict) or {str(label) for label in given} != set(self.labels):
            raise UserError(
                "task.class_weights: must be null, balanced or a weight for each of "
                f"{', '.join(self.labels)} (got {given!r})"
            )
        weights = {str(label): value for label, value in given.items()}
        if not all(isinstance(one, int | float) and 0 < one < math.inf for one in weights.values()):
            raise UserError(f"task.class_weights: must be positive numbers (got {given!r})")
        return torch.tensor([float(weights[label]) for label in self.labels])

    def balanced(self, counts: list[int], total: int) -> list[float]:
        """Return weights with which rare labels count as much as frequent ones."""
        raise missing(self, "balanced")

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the loss of each sequence, [B].

        Args:
            logits: [B, C].
            labels: [B] or [B, C], of `dtype`.
            weights: see `class_weights`.
            smoothing: share of a label that is spread over all.
        """
        raise missing(self, "loss")

    def predict(self, logits: Tensor) -> Tensor:
        """Return probabilities, or numbers in the labels' unit: [B, C], in the precision of the logits."""
        raise missing(self, "predict")

    def effect(self, logits: Tensor, number: int) -> Tensor:
        """Return the answer to one label in a unit in which effects add up, [B], with gradients.

        Of a class the natural logarithm of its odds against all others, of a label its logit, of a number
        itself.

        Args:
            logits: [B, C].
            number: of the label.
        """
        if self.reads == "class":
            return log_odds_of(logits, number)
        return logits[:, number] if self.reads == "labels" else self.predict(logits)[:, number]

    def effect_unit(self, number: int) -> str:
        """Return the unit of `effect` of a label."""
        return "the unit of the labels" if self.reads == "number" else "natural log odds"

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Compute every metric of `scores`, in float64; NaN where the set of sequences defines none.

        Args:
            logits: [n, C].
            labels: [n] or [n, C], of `dtype`.
        """
        raise missing(self, "metrics")

    @staticmethod
    def not_finite(logits: Tensor) -> list[str]:
        """Say that no metric is defined where logits [n, C] are NaN or infinite: such have no rank."""
        bad = int((~logits.isfinite()).any(-1).sum())
        return [f"{bad:,} answer(s) are not finite: no metric is defined"] if bad else []

    def resampled(
        self, logits: Tensor, labels: Tensor, times: Tensor
    ) -> tuple[dict[str, Tensor], int] | None:
        """Return `metrics` of many draws at once, and how many have `notes`; None: take them one by one.

        Args:
            logits, labels: as in `metrics`.
            times: float64 [S, n], how often each draw has each sequence.

        Returns:
            float64 [S] of each metric, and a number of draws.
        """
        return None

    def notes(self, logits: Tensor, labels: Tensor) -> list[str]:
        """Say what a metric leaves out of these sequences, one sentence each.

        Args:
            logits, labels: as in `metrics`.
        """
        return []

    def confusion(self, logits: Tensor, labels: Tensor) -> list | None:
        """Count true against predicted labels, see `metrics`; None of an answer that is not a label."""
        return None

    def columns(self) -> list[str]:
        """Return names of the columns of `cells`."""
        return [
            "predicted",
            *(f"p_{label}" for label in self.labels),
            *(f"logit_{label}" for label in self.labels),
        ]

    def cells(self, logits: Tensor) -> list[str]:
        """Return a sequence's prediction as text: the answer, its probabilities and its logits.

        The numbers have all their digits. A probability near 1 has few to tell it from another; logits have.

        Args:
            logits: float64 [C].
        """
        return [self.answer(logits), *texts(self.predict(logits)), *texts(logits)]

    def answer(self, logits: Tensor) -> str:
        """Return the prediction from the logits [C] of one sequence, written as its label would be."""
        raise missing(self, "answer")

    def written(self, label: Tensor) -> str:
        """Return the label of one sequence, [] or [C], as it was written."""
        raise missing(self, "written")

    def picture(self, logits: Tensor, labels: Tensor, title: str) -> Figure | None:
        """Draw the model's predictions for these sequences; None draws nothing.

        Args:
            logits, labels: as in `metrics`.
            title: of the picture.
        """
        return None


def texts(values: Tensor) -> list[str]:
    """Write numbers [n] as text with the digits that give the same float64 again."""
    return [repr(value) for value in values.double().tolist()]


def named(labels: Sequence[str], most: int = 8) -> str:
    """Write the first `most` labels for a message, escaping what a terminal would obey."""
    rest = f" and {len(labels) - most:,} more" if len(labels) > most else ""
    return ", ".join(map(repr, labels[:most])) + rest
