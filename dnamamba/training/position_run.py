"""The recipe of a fine-tuning that answers at every base or bin: what was read, as a `Run`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from dnamamba.datasets.positions import PositionsData
from dnamamba.errors import UserError
from dnamamba.models import ModelConfig, PositionModel
from dnamamba.models.base import need_reach
from dnamamba.objectives.positions import PositionObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.reports.positions import PositionReport
from dnamamba.terminal import Console
from dnamamba.training.config import TrainConfig
from dnamamba.training.keep_best import KeepBest
from dnamamba.training.lora import add_adapters, merge_adapters
from dnamamba.training.module import trainable
from dnamamba.training.position_baselines import class_baselines, signal_baselines
from dnamamba.training.recipe import Recipe, fixed
from dnamamba.training.run import Run, size_of

BASELINES = {"base_classes": class_baselines, "signal": signal_baselines}


def position_run(
    recipe: Recipe,
    data: PositionsData,
    shape: ModelConfig,
    pretrained: dict[str, Tensor] | None,
    source: str,
    pooling: Any,
    task: TaskConfig,
    train: TrainConfig,
    trainer: lightning.Trainer,
    console: Console,
    counted: Sequence[str],
) -> Run:
    """Build the model, the objective and the report.

    Args:
        recipe: the settings of the run.
        data: what is read.
        shape: of the backbone.
        pretrained: its weights; None: they are drawn.
        source: what to call where they are from.
        pooling: the `decoder` group.
        task: that group.
        train: the steps, in sequences.
        trainer: Lightning's.
        console: for what a person reads.
        counted: lines on the steps.

    Raises:
        UserError: a setting has no meaning for an answer per position.
    """
    _check(pooling, task, trainer)
    decoder = data.question(pooling.context, pooling.conv)
    head = decoder.head
    if decoder.chain and task.class_weights is not None:
        raise UserError(
            "task.class_weights: a chain of answers weighs no class (got data.chain=true); set "
            "data.chain=false, or leave task.class_weights null"
        )
    objective = PositionObjective(decoder, task, head.class_weights(task.class_weights, *data.train_counts))
    with torch.device("meta"):
        need_reach(shape.build(), decoder.window)
    model = PositionModel(shape, decoder)
    if pretrained is not None:
        model.backbone.load_state_dict(pretrained)
    data.begin(model)
    model.backbone.activation_checkpointing = train.activation_checkpointing
    if task.freeze:
        model.backbone.requires_grad_(False)
    if task.lora_rank:
        add_adapters(model, task.lora_rank, task.lora_alpha)
    best = KeepBest(
        task.monitor,
        task.patience,
        restores=task.keep_best,
        lower_is_better=task.monitor in head.lower_is_better,
    )
    finishers: list[Callable[[Any], None]] = [merge_adapters] if task.lora_rank else []
    name = f"{size_of(model)}, {trainable(model):,} of them trainable, from {source}"
    baselines = partial(BASELINES[decoder.kind], data, head) if task.baselines else None
    contents, unchanged = recipe.kept(train, shape, data, asdict(data.config))
    return Run(
        Path(recipe.folder),
        model,
        objective,
        data,
        train,
        trainer,
        PositionReport(name, head, data, task, best, baselines, _remarks(model), counted),
        contents | {"decoder": decoder.to_dict(), "task": asdict(task)},
        unchanged | {"task": fixed(task), "decoder": list(decoder.to_dict())},
        configuration=recipe.configuration,
        ckpt_path=recipe.ckpt_path,
        layer_decay=task.layer_decay,
        keep_best=best,
        finishers=finishers,
        console=console,
    )


def _check(pooling: Any, task: TaskConfig, trainer: lightning.Trainer) -> None:
    """Refuse settings that have no meaning for a prediction per position."""
    for key, value, only in (
        ("decoder.mode", pooling.mode, "auto"),
        ("decoder.strand", pooling.strand, "forward"),
        ("task.fit", task.fit, "gradient"),
        ("task.label_smoothing", task.label_smoothing, 0.0),
    ):
        if value != only:
            raise UserError(
                f"{key}: has no meaning for an answer per base or bin (got {value}); leave it {only}"
            )
    if isinstance(trainer.strategy, ModelParallelStrategy):
        raise UserError(
            "trainer.strategy=fsdp: records of several lengths are read whole by each process; choose "
            "trainer=ddp"
        )


def _remarks(model: PositionModel) -> Sequence[str]:
    if model.backbone.causal and model.decoder.context == "forward":
        return [
            "the model is causal: at each base it has read what is left of it alone; decoder.context=both "
            "reads both sides"
        ]
    return []
