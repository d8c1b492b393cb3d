"""A head that is computed, not trained: one pass over the training batches with the backbone as it is."""

from collections.abc import Iterable, Iterator
from itertools import islice

import lightning
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig

from .classification import SequenceTask
from .discriminant import Discriminant
from .sequence_data import SequenceData
from .stepping import Batch, parts_of


def check_closed(ckpt_path: str | None, processes: int) -> None:
    """That a run asks for nothing that a pass of one process can't do.

    Raises:
        UserError: it does; the message names the key.
    """
    if ckpt_path is not None:
        raise UserError("ckpt_path: task.fit=closed leaves no checkpoint to go on from")
    if processes > 1:
        raise UserError(f"task.fit=closed is of one process, not of {processes}")


def check_question(decoder: DecoderConfig) -> None:
    """That the question is a classification.

    Raises:
        UserError: it is another.
    """
    if decoder.kind != "classification":
        raise UserError(f"task.fit=closed needs a classification, not a {decoder.kind}")


def fit_head(
    trainer: lightning.Trainer, task: SequenceTask, data: SequenceData, steps: int, console: Console
) -> None:
    """Give the model's head the weights of a linear discriminant of what it reads (`Discriminant`).

    The batches are those of as many steps of training, in its micro-batches and in its precision; the model
    answers as it does outside training, so that `strand=both` counts the mean of both strands.

    Args:
        trainer: says which device and which precision.
        task: its model is moved to that device; nothing but its head changes.
        data: the training batches.
        steps: how many of them are read.
        console: shows the progress.

    Raises:
        UserError: a class was in none of the batches, or nothing varies within the classes.
    """
    device = trainer.strategy.root_device
    model, labels = task.model.to(device).eval(), task.model.decoder.labels
    data.trainer = trainer
    found = Discriminant(len(labels), model.head.in_features, device)
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        for batch in _shown(data.train_dataloader(), steps, console):
            for part in parts_of(batch, task.micro_batch(batch)):
                part = {name: column.to(device, non_blocking=True) for name, column in part.items()}
                features = model.features(part["tokens"], part.get("lengths"), padding=task.padding)
                found.add(features, part["labels"])
    missing = [label for label, count in zip(labels, found.counts.tolist(), strict=True) if not count]
    if missing:
        raise UserError(
            f"task.fit=closed: no training window of {', '.join(missing)} in {steps:,} step(s); "
            "raise train.max_steps"
        )
    weight, bias = found.solve(task.config.shrinkage, priors=task.config.class_weights is None)
    with torch.no_grad():
        model.head.weight.copy_(weight)
        model.head.bias.copy_(bias)
    console.print(f"head computed from {int(found.counts.sum()):,} training windows", soft_wrap=True)


def _shown(batches: Iterable[Batch], steps: int, console: Console) -> Iterator[Batch]:
    """The first `steps` batches, with a bar on a terminal; elsewhere a line every tenth of the pass."""
    progress = Progress(
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )
    every = max(1, steps // 10)
    with progress:
        for step, batch in enumerate(progress.track(islice(batches, steps), total=steps), start=1):
            yield batch
            if not console.is_terminal and step % every == 0:
                console.print(f"step {step:,} of {steps:,}")
