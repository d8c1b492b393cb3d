"""The contract of a head that answers at every base or bin: its loss and its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dnamamba.errors import missing

if TYPE_CHECKING:
    from dnamamba.models.positions import PositionConfig


class PositionHead:
    """One kind of answer per position; it has no weights.

    Args:
        decoder: the question.

    Attributes:
        scores: names of the metrics, in the order of `metrics`; `loss` comes with them.
        lower_is_better: those of `scores`, and `loss`, that a better model has less of.
        headline: the metric that a result is known by.
        divisible: whether the loss is a sum over positions, whichever of them are read together.
    """

    scores: ClassVar[tuple[str, ...]]
    lower_is_better: ClassVar[tuple[str, ...]] = ("loss",)
    headline: ClassVar[str]

    def __init__(self, decoder: PositionConfig) -> None:
        self.decoder = decoder
        self.labels = decoder.labels

    @classmethod
    def check(cls, decoder: PositionConfig) -> None:
        """Check that the head has labels enough, all different.

        Raises:
            UserError: a setting has no meaning for it.
        """

    @property
    def divisible(self) -> bool:
        """See the class."""
        return True

    @property
    def loss_names(self) -> tuple[str, str] | None:
        """What training and validation lose, where these are two quantities; None where they are one."""
        return None

    @property
    def outputs(self) -> int:
        """Numbers that the model gives per position, C."""
        return len(self.labels)

    def loss_sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the losses of all positions that count, added up.

        Args:
            logits: float32 [B, n, C].
            targets: of the positions, [B, n] or [B, n, T].
            weights: of the labels in the loss, float32; None: all the same.
        """
        raise missing(self, "loss_sum")

    def number(self, targets: Tensor) -> Tensor:
        """Count the positions of targets [B, n] that enter the loss, an integer tensor on their device."""
        raise missing(self, "number")

    def predict(self, logits: Tensor) -> Tensor:
        """Return probabilities, or numbers in the unit of the tracks: [..., labels]."""
        raise missing(self, "predict")

    def metrics(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return every metric of `scores`, in float64; NaN where the positions define none.

        Args:
            logits: float32 [n, C].
            targets: [n] or [n, T].
        """
        raise missing(self, "metrics")

    def per_label(self, logits: Tensor, targets: Tensor) -> list[dict[str, Any]]:
        """Return the metrics of each label, with its name under `label`; arguments as in `metrics`."""
        raise missing(self, "per_label")

    def measured(self, logits: Tensor, targets: Tensor) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Return both of `metrics` and `per_label`; a head whose two share work does that once.

        Args:
            logits: float32 [n, C].
            targets: [n] or [n, T].
        """
        return self.metrics(logits, targets), self.per_label(logits, targets)

    def statistics(self, logits: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
        """Compute numbers of each block, float64 [blocks, k], whose sums give some of the metrics.

        Args:
            logits, targets: as in `metrics`, of one block after the other.
            sizes: positions of each block.
        """
        raise missing(self, "statistics")

    def from_statistics(self, sums: Tensor) -> dict[str, Tensor]:
        """Return those metrics, float64 [S] each, of sums of `statistics`, float64 [S, k]."""
        raise missing(self, "from_statistics")

    def class_weights(self, given: Any, counts: list[int], total: int) -> Tensor | None:
        """Return the weight of each label in the loss, float32; None: all the same.

        Args:
            given: `task.class_weights`.
            counts: training positions of each label.
            total: training positions.

        Raises:
            UserError: `given` has no meaning here.
        """
        raise missing(self, "class_weights")
