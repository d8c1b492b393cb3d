"""A fine-tuning that predicts at every base or bin: the model, the objective, the report."""

from collections.abc import Sequence
from functools import partial

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from dnamamba.datasets.positions import PositionsData
from dnamamba.errors import UserError
from dnamamba.models import PositionModel
from dnamamba.models.base import need_reach
from dnamamba.objectives.positions import PositionObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.reports.positions import PositionReport
from dnamamba.training.config import TrainConfig
from dnamamba.training.position_baselines import class_baselines, signal_baselines
from dnamamba.training.tuned import Pooling, Start, Tuned, adapt, best_of

BASELINES = {"base_classes": class_baselines, "signal": signal_baselines}


def positions_tuned(
    data: PositionsData,
    start: Start,
    pooling: Pooling,
    task: TaskConfig,
    train: TrainConfig,
    trainer: lightning.Trainer,
    counted: Sequence[str],
) -> Tuned:
    """Build the model, the objective and the report.

    Args:
        data: what is read.
        start: what the backbone begins with.
        pooling: the `decoder` group.
        task: that group.
        train: the steps, in sequences.
        trainer: Lightning's.
        counted: lines on the steps.

    Raises:
        UserError: a setting has no meaning for an answer per position.
    """
    _check(pooling, task, trainer)
    pooling = pooling.settled("mean")
    decoder = data.question(pooling.context, pooling.conv)
    head = decoder.head
    if decoder.chain and task.class_weights is not None:
        raise UserError(
            "task.class_weights: a chain of answers weighs no class (got data.chain=true); set "
            "data.chain=false, or leave task.class_weights null"
        )
    objective = PositionObjective(decoder, task, head.class_weights(task.class_weights, *data.train_counts))
    with torch.device("meta"):
        need_reach(start.shape.build(), decoder.window)
    model = PositionModel(start.shape, decoder)
    data.begin(model)
    name = adapt(model, start, task, activation_checkpointing=train.activation_checkpointing)
    best = best_of(task, head.lower_is_better)
    baselines = partial(BASELINES[decoder.kind], data, head) if task.baselines else None
    report = PositionReport(name, head, data, task, best, baselines, _remarks(model), counted)
    return Tuned(model, objective, report, best, list(decoder.to_dict()))


def _check(pooling: Pooling, task: TaskConfig, trainer: lightning.Trainer) -> None:
    """Refuse settings that have no meaning for a prediction per position."""
    for key, value, only in (
        ("decoder.mode", pooling.mode, "auto"),
        ("decoder.strand", pooling.strand, "forward"),
        ("task.fit", task.fit, "gradient"),
        ("task.label_smoothing", task.label_smoothing, 0.0),
    ):
        if value != only:
            later = ", and predict with strand=both" if key == "decoder.strand" else ""
            raise UserError(
                f"{key}: has no meaning for an answer per base or bin (got {value}); leave it {only}{later}"
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
