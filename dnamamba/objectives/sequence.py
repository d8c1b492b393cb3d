"""Fine-tuning: the answer to one question about each sequence; what an answer is, its head knows."""

from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torchmetrics import CatMetric

from dnamamba.errors import UserError
from dnamamba.kernels.exact import exact, exact_device
from dnamamba.models import DecoderConfig, SequenceModel
from dnamamba.models.chunk_pooling import pooled
from dnamamba.objectives.base import Batch, Chunks, Meter, Objective
from dnamamba.objectives.task_config import TaskConfig


class Scored(NamedTuple):
    """What a model made of a split, in the order of the examples' numbers.

    Attributes:
        examples: int64 [n], the examples' numbers.
        logits: float64 [n, C].
        labels: [n] or [n, C], of the head's `dtype`.
    """

    examples: Tensor
    logits: Tensor
    labels: Tensor


class SequenceObjective(Objective):
    """The loss of a `SequenceModel`; a sample's weighs the same however long it is and whatever its batch.

    Args:
        decoder: what is asked of a sequence.
        config: the `task` group.
        weights: of the classes, see `dnamamba.heads.base.Head.class_weights`.
        padding: side of the batches' padding.

    Raises:
        UserError: a setting that has no meaning for the question.
    """

    chunks_of_backbone = capturable = packs = True
    weights: Tensor | None

    def __init__(
        self, decoder: DecoderConfig, config: TaskConfig, weights: Tensor | None, padding: str
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.head = decoder.head
        self.head.check_smoothing(config.label_smoothing)
        known = ("loss", *self.head.scores)
        if config.monitor not in known:
            raise UserError(f"task.monitor: expected one of {', '.join(known)} (got {config.monitor})")
        self.config = config
        self.padding = cast(Literal["right", "left"], padding)
        self.register_buffer("weights", weights, persistent=False)

    def answers(self, model: nn.Module, batch: Batch, chunk: int | None = None) -> Tensor:
        """Return logits [B, C] of a batch, read by `chunk` positions at a time if one is given.

        Args:
            model: a `SequenceModel`.
            batch: `tokens` [B, L] and perhaps `lengths` [B].
            chunk: positions read at a time, without gradients; None: all together.
        """
        return cast(SequenceModel, model)(
            batch["tokens"], batch.get("lengths"), padding=self.padding, chunk=chunk
        )

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each sequence, [B]."""
        weights = None if self.weights is None else self.weights.to(logits.device)
        return self.head.loss(logits, labels, weights, self.config.label_smoothing)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the losses of a micro-batch, added up."""
        return self.losses(self.answers(model, batch), batch["labels"]).sum()

    def check_chunks(self) -> None:
        """See `Objective.check_chunks`; only a sum over positions is a sum over chunks."""
        decoder = self.decoder
        if decoder.learns or decoder.context == "both":
            raise UserError(
                f"train.chunk_bases: decoder.mode={decoder.mode}, decoder.conv={decoder.conv} and "
                f"decoder.context={decoder.context} read all positions together; choose decoder.mode=mean, "
                "last or next, decoder.conv=0 and decoder.context=forward, or leave train.chunk_bases null"
            )

    def chunks(self, model: nn.Module, batch: Batch, multiple: int = 1) -> Chunks:
        """See `Objective.chunks`; a pooled vector is a sum over chunks."""
        sequences = cast(SequenceModel, model)
        tokens, weights = sequences.weighted(batch["tokens"], batch.get("lengths"), padding=self.padding)
        return Chunks(
            sequences.backbone,
            tokens,
            weights,
            pooled,
            lambda vector: self.losses(sequences.answer(vector), batch["labels"]).sum(),
        )

    def number_of_targets(self, batch: Batch) -> Tensor:
        """Count the sequences of a batch."""
        return torch.tensor(len(batch["tokens"]), device=batch["tokens"].device)

    def meter(self) -> "SequenceMeter":
        """Return a meter of the head's loss and metrics."""
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
        logits = self._objective[0].answers(model, batch, self.chunk)
        # As float64: float32 holds the numbers of examples up to 2^24 only.
        columns = map(exact, (batch["index"], logits, batch["labels"]))
        for metric, column in zip(self._metrics, columns, strict=True):
            metric.update(column)

    def compute(self) -> dict[str, Any]:
        """Return the loss and every metric of the head, over all processes' sequences in order; or NaN.

        The loss is computed as in training, in float32; the metrics in float64.
        """
        objective = self._objective[0]
        head = objective.head
        # Of one sequence torchmetrics makes tensors without a dimension.
        examples, logits, labels = (metric.compute().cpu().reshape(-1) for metric in self._metrics)
        number = len(examples)
        order = examples.argsort()
        logits = logits.reshape(number, -1)[order]
        labels = labels.reshape((number,) if head.reads == "class" else (number, -1))[order].to(head.dtype)
        self.scored = Scored(examples[order].long(), logits, labels)
        loss = objective.losses(logits.float(), labels).mean()
        # As tensors: a logger rounds Python's numbers to float32.
        found = head.metrics(logits, labels).items()
        return {"loss": loss, **{name: torch.tensor(value, dtype=torch.float64) for name, value in found}}

    def reset(self) -> None:
        """Forget all sequences."""
        for metric in self._metrics:
            metric.reset()

    def _apply(self, fn: Any, recurse: bool = True) -> "SequenceMeter":
        """Move to another device that has float64, and stay so: torchmetrics (1.9) forgets it in a move."""
        super()._apply(fn, recurse)
        for metric in self._metrics:
            if exact_device(metric.device) != metric.device:
                metric.to(exact_device(metric.device))
            metric.set_dtype(torch.float64)
        return self

    @property
    def _metrics(self) -> list[CatMetric]:
        return cast(list[CatMetric], list(self._seen))
