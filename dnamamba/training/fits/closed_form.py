"""A head that is computed, not trained: one pass over the training batches with the backbone as it is."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, cast

import lightning
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from dnamamba.datasets.base import DataModule
from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig, SequenceModel
from dnamamba.objectives.base import Batch
from dnamamba.objectives.sequence import SequenceObjective
from dnamamba.training.fits.discriminant import Discriminant
from dnamamba.training.module import Task, parts_of


class Head(NamedTuple):
    """A linear classifier of what a model's head reads.

    Attributes:
        weight: float64 [C, head.in_features].
        bias: float64 [C].
        splits: what it was computed from.
    """

    weight: Tensor
    bias: Tensor
    splits: tuple[str, ...]

    def give(self, model: SequenceModel) -> None:
        """Make it the head of `model`."""
        with torch.no_grad():
            model.head.weight.copy_(self.weight)
            model.head.bias.copy_(self.bias)


def check_closed(ckpt_path: str | None, processes: int) -> None:
    """Check that a run asks for nothing that a pass of one process can't do.

    Raises:
        UserError: it does; the message names the key.
    """
    if ckpt_path is not None:
        raise UserError("ckpt_path: task.fit=closed leaves no checkpoint to resume from")
    if processes > 1:
        raise UserError(f"task.fit=closed: runs in one process (got {processes}); set trainer.devices=1")


def check_question(decoder: DecoderConfig) -> None:
    """Check that the task is a classification, and that the pooling has no weights to train.

    Raises:
        UserError: it is another question, or the pooling would have to be trained.
    """
    if decoder.head.reads != "class":
        raise UserError(f"task.fit=closed needs a classification, not a {decoder.kind}")
    if decoder.learns:
        raise UserError(
            f"task.fit=closed computes the head alone, and decoder.mode={decoder.mode} with "
            f"decoder.conv={decoder.conv} has weights to train; choose task.freeze=true"
        )


def fit_heads(
    trainer: lightning.Trainer, task: Task, data: DataModule, steps: int, console: Console
) -> dict[str, Head]:
    """Fit linear discriminants of what the head reads (`Discriminant`); the model gets the one to save.

    The training batches are those of as many steps of training. With `task.refit` the validation windows are
    added, each once, when the head that is validated has been found without them.

    Args:
        trainer: says which device and which precision.
        task: its model is moved to that device; nothing but its head changes.
        data: the batches.
        steps: how many training batches are read.
        console: shows the progress.

    Returns:
        The heads to score with: `valid`, of the training windows; `test`, the same or, with `task.refit`, of
        the validation windows too. The model has that of `test`.

    Raises:
        UserError: a class was in none of the training batches, or nothing varies within the classes.
    """
    objective = cast(SequenceObjective, task.objective)
    device, config = trainer.strategy.root_device, objective.config
    model, labels = task.model.to(device).eval(), task.model.decoder.labels
    data.trainer = trainer
    found = Discriminant(len(labels), model.head.in_features, device)

    def solved(*splits: str) -> Head:
        return Head(*found.solve(config.shrinkage, priors=config.class_weights is None), splits)

    _add(found, trainer, task, _shown(data.train_dataloader(), steps, "step", console))
    missing = [label for label, count in zip(labels, found.counts.tolist(), strict=True) if not count]
    if missing:
        raise UserError(
            f"task.fit=closed: no training window of {', '.join(missing)} in {steps:,} step(s); "
            "raise train.max_steps"
        )
    heads = dict.fromkeys(("valid", "test"), solved("train"))
    number = int(found.counts.sum())
    console.print(f"head computed from {number:,} training windows", soft_wrap=True)
    if config.refit:
        loader = next(loader for split, loader in data.held_out_loaders() if split == "valid")
        _add(found, trainer, task, _shown(loader, len(loader), "validation batch", console))
        heads["test"] = solved("train", "valid")
        console.print(
            f"head computed again, from {int(found.counts.sum()) - number:,} validation windows too: it is "
            "saved and tested, the one before is validated",
            soft_wrap=True,
        )
    heads["test"].give(model)
    return heads


class ClosedForm:
    """`fit_heads` as a way of finding a run's weights (`dnamamba.training.run.Fit`).

    Attributes:
        heads: by the split that is scored with it.
    """

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}

    def fit(self, trainer: lightning.Trainer, task: Task, data: DataModule, console: Console) -> None:
        """Compute the heads; the model gets the one that is saved.

        Args:
            trainer, task, data: of the run.
            console: shows the progress.
        """
        self.heads = fit_heads(trainer, task, data, data.schedule.max_steps, console)

    def before_scoring(self, task: Task, split: str) -> None:
        """Give the model the head of a split."""
        self.heads[split].give(task.model)


def _add(found: Discriminant, trainer: lightning.Trainer, task: Task, batches: Iterable[Batch]) -> None:
    """Count in what the head reads of batches, in the micro-batches and in the precision of training.

    The model answers as it does outside training, so that `strand=both` counts the mean of both strands.
    """
    device = trainer.strategy.root_device
    padding = cast(SequenceObjective, task.objective).padding
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        for batch in batches:
            for part in parts_of(batch, task.micro_batch(batch)):
                part = {name: column.to(device, non_blocking=True) for name, column in part.items()}
                features = task.model.features(part["tokens"], part.get("lengths"), padding=padding)
                found.add(features, part["labels"])


def _shown(batches: Iterable[Batch], number: int, unit: str, console: Console) -> Iterator[Batch]:
    """Yield the first `number` batches, with a bar on a terminal, elsewhere a line every tenth."""
    progress = Progress(
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )
    every = max(1, number // 10)
    with progress:
        for done, batch in enumerate(progress.track(islice(batches, number), total=number), start=1):
            yield batch
            if not console.is_terminal and done % every == 0:
                console.print(f"{unit} {done:,} of {number:,}")
