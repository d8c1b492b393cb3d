"""A fine-tuning that predicts for each sequence: the pooling by the data, the model, the report."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace

import torch

from dnamamba.datasets.base import DataModule
from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig, SequenceModel
from dnamamba.models.base import need_reach
from dnamamba.objectives.sequence import SequenceObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.reports.finetuning import FinetuningReport
from dnamamba.terminal import Console
from dnamamba.training.baselines import Baselines
from dnamamba.training.choosing import choose
from dnamamba.training.config import TrainConfig
from dnamamba.training.fits.closed_form import ClosedForm, check_question
from dnamamba.training.tuned import Pooling, Start, Tuned, adapt, best_of


def sequences_tuned(
    data: DataModule,
    start: Start,
    pooling: Pooling,
    task: TaskConfig,
    train: TrainConfig,
    console: Console,
    counted: Sequence[str],
) -> Tuned:
    """Build the model, the objective and the report.

    Args:
        data: what is read.
        start: what the backbone begins with.
        pooling: the `decoder` group.
        task: that group.
        train: the steps, in sequences.
        console: for what a person reads.
        counted: lines on the steps.

    Raises:
        UserError: a setting has no meaning for these data.
    """
    closed = task.fit == "closed"
    # What a user may have got wrong is said before simple models take half a minute.
    decoder = _question(pooling.settled("mean"), data)
    if closed:
        check_question(decoder)
    weights = decoder.head.class_weights(task.class_weights, *data.train_counts)
    SequenceObjective(decoder, task, weights, data.padding)  # checks the task's settings
    longest = max(stage.length for stage in data.schedule.stages)
    with torch.device("meta"):
        backbone = start.shape.build()
    need_reach(backbone, longest)
    baselines = Baselines(decoder.head, weights, data) if task.baselines else None
    # A pooling that is learnt needs all positions at once.
    may_learn = not closed and train.chunk_bases is None
    pooling, chosen = choose(pooling, data, baselines, console, may_learn=may_learn, causal=backbone.causal)
    decoder = replace(_question(pooling, data), longest=longest)
    objective = SequenceObjective(decoder, task, weights, data.padding)
    model = SequenceModel(start.shape, decoder)
    name = adapt(model, start, task, activation_checkpointing=train.activation_checkpointing)
    best = best_of(task, decoder.head.lower_is_better)
    fit = ClosedForm() if closed else None
    report = FinetuningReport(name, decoder, data, task, best, fit, baselines, [*counted, *chosen])
    # The data are compared by themselves, and a run of an older version has no `longest`.
    unchanged = [field.name for field in fields(decoder) if field.name != "longest"]
    return Tuned(model, objective, report, best, unchanged, fit)


def _question(pooling: Pooling, data: DataModule) -> DecoderConfig:
    """Return the head's configuration from the data's labels and the settings.

    Args:
        pooling: the settings, none of them open.
        data: has the labels.

    Raises:
        UserError: each position is to have weights of its own, and the sequences differ in length.
    """
    asked = data.decoder("mean")
    length = data.common_length if pooling.mode == "positions" else None
    if pooling.mode == "positions" and length is None:
        raise UserError(
            "decoder.mode=positions: the sequences differ in length; choose decoder.mode=attention, or "
            "cut them to one length (data.max_length)"
        )
    return replace(asked, **asdict(pooling), length=length)
