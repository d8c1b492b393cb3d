"""Fine-tuning: a class, labels or a number of each sequence."""

from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import CatMetric

from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig, SequenceModel
from dnamamba.objectives.base import Batch, Meter, Objective
from dnamamba.objectives.metrics import metrics_of, score
from dnamamba.objectives.task_config import TaskConfig


def class_weights(given: Any, decoder: DecoderConfig, counts: list[int], total: int) -> Tensor | None:
    """The weight of each class in the loss, or of each label's presence in a multi-label task.

    Args:
        given: None; `balanced`; or a weight a label.
        decoder: has the labels.
        counts: training sequences of each label.
        total: training sequences.

    Raises:
        UserError: `given` is none of these, or the task is a regression.
    """
    if given is None:
        return None
    if decoder.kind == "regression":
        raise UserError("task.class_weights: a regression has no classes")
    if given == "balanced":
        if decoder.kind == "multilabel":
            return torch.tensor([(total - count) / count for count in counts])
        return torch.tensor([total / (len(counts) * count) for count in counts])
    if not isinstance(given, dict) or {str(label) for label in given} != set(decoder.labels):
        raise UserError(
            f"task.class_weights must be null, balanced or a weight for each of {', '.join(decoder.labels)}, "
            f"not {given!r}"
        )
    weights = {str(label): value for label, value in given.items()}
    if not all(isinstance(weight, int | float) and weight > 0 for weight in weights.values()):
        raise UserError(f"task.class_weights must be positive numbers, not {given!r}")
    return torch.tensor([float(weights[label]) for label in decoder.labels])


def loss_of(
    logits: Tensor, labels: Tensor, decoder: DecoderConfig, weights: Tensor | None, smoothing: float
) -> Tensor:
    """The loss of each sequence, [B]: cross-entropy; its mean over the labels; or a scaled squared error."""
    if decoder.kind == "classification":
        return F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing, reduction="none")
    if decoder.kind == "multilabel":
        smoothed = labels * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(
            logits, smoothed, pos_weight=weights, reduction="none"
        ).mean(1)
    return (logits - (labels - decoder.shift) / decoder.scale).square().mean(1)


def predictions_of(logits: Tensor, decoder: DecoderConfig) -> Tensor:
    """Probabilities [B, C], or the numbers [B, 1] of a regression in the unit of its labels."""
    if decoder.kind == "classification":
        return logits.softmax(-1)
    if decoder.kind == "multilabel":
        return logits.sigmoid()
    return decoder.shift + decoder.scale * logits


class Scored(NamedTuple):
    """What a model made of a split, in the order of the examples' numbers.

    Attributes:
        examples: int64 [n], the examples' numbers.
        predictions: float32 [n, C], see `predictions_of`.
        labels: as in the batches.
    """

    examples: Tensor
    predictions: Tensor
    labels: Tensor


class SequenceObjective(Objective):
    """The loss of a `SequenceModel`; a sample's weighs the same however long it is and whatever its batch.

    Args:
        decoder: what is asked of a sequence.
        config: the `task` group.
        weights: of the classes, see `class_weights`.
        padding: side of the batches' padding.

    Raises:
        UserError: a setting that has no meaning for the question.
    """

    weights: Tensor | None

    def __init__(
        self, decoder: DecoderConfig, config: TaskConfig, weights: Tensor | None, padding: str
    ) -> None:
        super().__init__()
        if config.label_smoothing and decoder.kind == "regression":
            raise UserError("task.label_smoothing: a regression has no labels to smooth")
        known = ("loss", *metrics_of(decoder.kind, len(decoder.labels)))
        if config.monitor not in known:
            raise UserError(f"task.monitor={config.monitor} is none of {', '.join(known)}")
        self.decoder = decoder
        self.config = config
        self.padding = cast(Literal["right", "left"], padding)
        self.register_buffer("weights", weights, persistent=False)

    def answers(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits [B, C] of a batch."""
        return cast(SequenceModel, model)(batch["tokens"], batch.get("lengths"), padding=self.padding)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sequence, [B]."""
        weights = None if self.weights is None else self.weights.to(logits.device)
        return loss_of(logits, labels, self.decoder, weights, self.config.label_smoothing)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """The losses of a micro-batch, added up."""
        return self.losses(self.answers(model, batch), batch["labels"]).sum()

    def number_of_targets(self, batch: Batch) -> Tensor:
        """Sequences of a batch."""
        return torch.tensor(len(batch["tokens"]), device=batch["tokens"].device)

    def meter(self) -> "SequenceMeter":
        """Loss and metrics of the head."""
        return SequenceMeter(self)


class SequenceMeter(Meter):
    """Gathers what a model makes of every held-out sequence.

    Args:
        objective: has the loss and the question.
    """

    headline = "loss"
    scored: Scored | None

    def __init__(self, objective: SequenceObjective) -> None:
        super().__init__()
        self._objective = (objective,)  # in a tuple: its buffers are the run's, not the meter's
        self._seen = nn.ModuleList(
            CatMetric(nan_strategy="disable").set_dtype(torch.float64) for _ in range(3)
        )
        self.scored = None

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Gather the answers to a batch."""
        logits = self._objective[0].answers(model, batch)
        # As float64: float32 holds the numbers of examples up to 2^24 only.
        columns = (batch["index"].double(), logits.double(), batch["labels"].double())
        for metric, column in zip(self._metrics, columns, strict=True):
            metric.update(column)

    def compute(self) -> dict[str, Any]:
        """The loss and every metric of the head, of all processes' sequences in order."""
        examples, logits, labels = (metric.compute().cpu() for metric in self._metrics)
        order = examples.argsort()
        objective = self._objective[0]
        decoder = objective.decoder
        kind = torch.int64 if decoder.kind == "classification" else torch.float32
        logits, labels = logits[order].float(), labels[order].to(kind)
        predictions = predictions_of(logits, decoder)
        self.scored = Scored(examples[order].long(), predictions, labels)
        loss = objective.losses(logits, labels).mean()
        return {"loss": loss, **score(decoder.kind, predictions, labels)}

    def reset(self) -> None:
        """Forget all sequences."""
        for metric in self._metrics:
            metric.reset()

    @property
    def _metrics(self) -> list[CatMetric]:
        return cast(list[CatMetric], list(self._seen))
