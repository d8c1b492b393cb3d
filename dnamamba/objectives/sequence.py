"""Fine-tuning: a class, labels or a number of each sequence."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import CatMetric

from dnamamba.data.labelled import Batch
from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig, SequenceModel
from dnamamba.objectives.metrics import metrics_of, score
from dnamamba.training.module import SteppedTask
from dnamamba.training.optim import Schedule, adamw

FITS = ("gradient", "closed")


@dataclass(frozen=True)
class TaskConfig:
    """The `task` group of a fine-tuning; conf/finetune/task/default.yaml explains each key.

    Raises:
        UserError: a value is out of range, or two do not go together; the message names the key.
    """

    fit: str
    shrinkage: float
    refit: bool
    class_weights: Any
    label_smoothing: float
    freeze: bool
    layer_decay: float
    lora_rank: int
    lora_alpha: int
    monitor: str
    keep_best: bool
    patience: int | None
    bootstrap: int

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"task.label_smoothing must lie between 0 and below 1, not {self.label_smoothing}"
            )
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"task.layer_decay must lie above 0 and up to 1, not {self.layer_decay}")
        for key, least in (("lora_rank", 0), ("patience", 1), ("bootstrap", 1)):
            if getattr(self, key) is not None and getattr(self, key) < least:
                raise UserError(f"task.{key} must be at least {least}, not {getattr(self, key)}")
        if self.lora_alpha <= 0:
            raise UserError(f"task.lora_alpha must be positive, not {self.lora_alpha}")
        if self.freeze and self.lora_rank:
            raise UserError("task.freeze and task.lora_rank: a frozen backbone has no adapters to train")
        if self.fit not in FITS:
            raise UserError(f"task.fit must be one of {', '.join(FITS)}, not {self.fit!r}")
        if not 0 < self.shrinkage <= 1:
            raise UserError(f"task.shrinkage must lie above 0 and up to 1, not {self.shrinkage}")
        if self.fit == "closed":
            self._check_closed()
        elif self.refit:
            raise UserError(
                "task.refit=true needs task.fit=closed: of training, validation chooses what is kept"
            )

    def _check_closed(self) -> None:
        """That nothing is asked for that has no meaning for a head that is computed."""
        for key in ("lora_rank", "label_smoothing"):
            if getattr(self, key):
                raise UserError(f"task.{key} has no meaning with task.fit=closed: nothing is trained")
        if self.class_weights not in (None, "balanced"):
            raise UserError(
                f"task.class_weights must be null or balanced with task.fit=closed, not {self.class_weights}"
            )


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


class SequenceTask(SteppedTask):
    """Trains a `SequenceModel`; a sample's loss weighs the same however long it is and whatever its batch.

    Args:
        model: what is trained.
        schedule: the learning rate of each step.
        config: the `task` group.
        weights: of the classes, see `class_weights`.
        padding: side of the batches' padding.
        weight_decay, betas, gradient_clip: AdamW's.
        micro_batch, describe: see `SteppedTask`.

    Raises:
        UserError: a setting that has no meaning for the model's question.

    Attributes:
        scored: what the last validation or test found.
    """

    model: SequenceModel
    weights: Tensor | None

    def __init__(
        self,
        model: SequenceModel,
        schedule: Schedule,
        *,
        config: TaskConfig,
        weights: Tensor | None,
        padding: str,
        weight_decay: float,
        betas: tuple[float, float],
        gradient_clip: float | None,
        micro_batch: Callable[[Batch], int],
        describe: Callable[[int, Any], list[str]],
    ) -> None:
        super().__init__(
            model,
            schedule,
            weight_decay=weight_decay,
            betas=betas,
            gradient_clip=gradient_clip,
            micro_batch=micro_batch,
            describe=describe,
        )
        if config.label_smoothing and model.decoder.kind == "regression":
            raise UserError("task.label_smoothing: a regression has no labels to smooth")
        known = ("loss", *metrics_of(model.decoder.kind, len(model.decoder.labels)))
        if config.monitor not in known:
            raise UserError(f"task.monitor={config.monitor} is none of {', '.join(known)}")
        self.config = config
        self.padding = cast(Literal["right", "left"], padding)
        self.register_buffer("weights", weights, persistent=False)
        self._seen = torch.nn.ModuleList(
            CatMetric(nan_strategy="disable").set_dtype(torch.float64) for _ in range(3)
        )
        self.scored: Scored | None = None

    def loss_sum(self, batch: Batch) -> Tensor:
        """The losses of a micro-batch, added up."""
        logits = self.model(batch["tokens"], batch.get("lengths"), padding=self.padding)
        return self._losses(logits, batch["labels"]).sum()

    def number_of_targets(self, batch: Batch) -> Tensor:
        """Sequences of a batch."""
        return torch.tensor(len(batch["tokens"]), device=self.device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; with `layer_decay`, each block learns slower than the one above it."""
        return adamw(
            self.model,
            self.schedule,
            weight_decay=self.weight_decay,
            betas=self.betas,
            scale=lambda name: layer_scale(name, self.config.layer_decay, self.model.config.n_layer),
        )

    def validation_step(self, batch: Batch, index: int) -> None:
        """Read one batch of held-out sequences."""
        self._read(batch)

    def test_step(self, batch: Batch, index: int) -> None:
        """Read one batch of test sequences."""
        self._read(batch)

    def on_validation_epoch_end(self) -> None:
        """Score all that was read."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Score all that was read."""
        self._report("test")

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return loss_of(logits, labels, self.model.decoder, self.weights, self.config.label_smoothing)

    def _read(self, batch: Batch) -> None:
        logits = self.model(batch["tokens"], batch.get("lengths"), padding=self.padding)
        # As float64: float32 holds the numbers of examples up to 2^24 only.
        columns = (batch["index"].double(), logits.double(), batch["labels"].double())
        for metric, column in zip(self._metrics, columns, strict=True):
            metric.update(column)

    @property
    def _metrics(self) -> list[CatMetric]:
        return cast(list[CatMetric], list(self._seen))

    def _report(self, prefix: str) -> None:
        examples, logits, labels = (metric.compute().cpu() for metric in self._metrics)
        for metric in self._metrics:
            metric.reset()
        order = examples.argsort()
        decoder = self.model.decoder
        kind = torch.int64 if decoder.kind == "classification" else torch.float32
        logits, labels = logits[order].float(), labels[order].to(kind)
        predictions = predictions_of(logits, decoder)
        self.scored = Scored(examples[order].long(), predictions, labels)
        weights = None if self.weights is None else self.weights.cpu()
        loss = loss_of(logits, labels, decoder, weights, self.config.label_smoothing).mean()
        if not math.isfinite(loss):
            raise UserError(f"the {prefix} loss is {loss.item():.4g} at step {self.global_step}")
        # Each process has gathered all: the mean over them is what each has.
        self.log(f"{prefix}/loss", loss, sync_dist=True)
        for name, value in score(decoder.kind, predictions, labels).items():
            self.log(f"{prefix}/{name}", value, sync_dist=True)


def layer_scale(name: str, decay: float, n_layer: int) -> float:
    """The learning rate of a parameter, relative to the head's: decay ** (blocks between it and the head)."""
    parts = name.split(".")
    if parts[0] != "backbone" or parts[1] == "norm_f":
        return 1.0
    return decay ** (n_layer - int(parts[2])) if parts[1] == "layers" else decay ** (n_layer + 1)
