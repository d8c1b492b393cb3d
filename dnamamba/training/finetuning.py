"""The recipe of a fine-tuning run: settings in, a `Run` out."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnamamba.auto import AUTO
from dnamamba.checkpoint import Model, load
from dnamamba.data.embedded import YEAST_MODEL
from dnamamba.datasets.base import DataConfig, DataModule
from dnamamba.datasets.labelled import LabelledConfig
from dnamamba.datasets.positions import PositionsData
from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig, ModelConfig, SequenceModel
from dnamamba.models.base import need_reach
from dnamamba.objectives.sequence import SequenceObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.reports.finetuning import FinetuningReport
from dnamamba.training.automatic import resolved
from dnamamba.training.baselines import Baselines
from dnamamba.training.choosing import choose
from dnamamba.training.config import FinetuneTrainConfig, TrainConfig
from dnamamba.training.fits.closed_form import ClosedForm, check_closed, check_question
from dnamamba.training.keep_best import KeepBest
from dnamamba.training.lora import add_adapters, merge_adapters
from dnamamba.training.module import trainable
from dnamamba.training.position_run import position_run
from dnamamba.training.recipe import Recipe, fixed
from dnamamba.training.resume import earlier_contents
from dnamamba.training.run import Run, size_of


@dataclass(frozen=True)
class Pooling:
    """The `decoder` group: what the head reads, of which strands; conf/finetune.yaml explains each key."""

    mode: str = "auto"
    strand: str = "forward"
    context: str = "forward"
    conv: int = 0


@dataclass(frozen=True)
class Finetuning(Recipe):
    """Fine-tune a model on labelled sequences: the settings of one run, with the command line's defaults.

    The package's yeast model, and its windows of yeast; for your own sequences give data, such as
    `LabelledConfig(table="promoters.csv")`.

    >>> from dnamamba import FinetuneTrainConfig, Finetuning
    >>> from dnamamba.objectives.task_config import TaskConfig
    >>> task = TaskConfig(baselines=False)
    >>> run = Finetuning("runs/coding", task=task, train=FinetuneTrainConfig(max_steps=20), quiet=True)
    >>> result = run.run()
    >>> result.model.decoder.labels
    ('coding', 'intergenic')
    >>> result.results["test"]["accuracy"]["value"] > 0.6
    True

    Attributes:
        folder: takes config.yaml, checkpoints/last.ckpt, model/, metrics.csv, metrics.json, predictions.tsv
            and pictures. With task.fit=closed there is no checkpoint and no curve.
        data: what is read, and how; by default coding and intergenic windows of the package's yeast genome.
        model: a pretrained model, or where it lies; None for the package's yeast model; or a shape, whose
            weights are drawn.
        pooling: what the head reads.
        task: the loss, and what of the model learns.
        train, trainer, ckpt_path, loggers, callbacks, configuration, quiet: see `Recipe`.
    """

    data: DataConfig = field(default_factory=LabelledConfig)
    model: Model | ModelConfig | str | Path | None = None
    pooling: Pooling = field(default_factory=Pooling)
    task: TaskConfig = field(default_factory=TaskConfig)
    train: TrainConfig = field(default_factory=FinetuneTrainConfig, kw_only=True)

    def build(self) -> Run:
        """See `Recipe.build`."""
        train, trainer, console = self.begun()
        task, closed = self.task, self.task.fit == "closed"
        if not isinstance(train, FinetuneTrainConfig):
            raise UserError("train: expected a FinetuneTrainConfig (got a TrainConfig); give one")
        if train.max_steps is None:
            raise UserError("train.max_steps must be a number: fine-tuning has no other end")
        if self.trainer.context_size > 1:
            raise UserError(
                "trainer.context_size: a fine-tuning reads each sequence on one process (got "
                f"{self.trainer.context_size}); set 1"
            )
        if closed:
            check_closed(self.ckpt_path, trainer.world_size)
        pretrained, shape, source = pretrained_model(self.model, self.data.alphabet)
        with console.status("reading the sequences"):
            data = self.opened(train, shape, console)
        whole = pretrained is not None and not (task.freeze or closed or task.lora_rank)
        earlier = earlier_contents(self.ckpt_path, Path(self.folder))
        train, task, counted = resolved(train, task, data, shape.depth if whole else None, earlier)
        trainer.val_check_interval = train.validate_every
        if isinstance(data, PositionsData):
            return position_run(
                self, data, shape, pretrained, source, self.pooling, task, train, trainer, console, counted
            )
        # What a user may have got wrong is said before simple models take half a minute.
        decoder = self.question(data, "mean" if self.pooling.mode == AUTO else self.pooling.mode)
        if closed:
            check_question(decoder)
        weights = decoder.head.class_weights(task.class_weights, *data.train_counts)
        objective = SequenceObjective(decoder, task, weights, data.padding)
        with torch.device("meta"):
            need_reach(shape.build(), max(stage.length for stage in data.schedule.stages))
        baselines = Baselines(decoder.head, weights, data) if task.baselines else None
        mode, chosen = choose(self.pooling.mode, data, baselines, console, may_learn=not closed)
        chosen = [*counted, *chosen]
        decoder = self.question(data, mode)
        model = SequenceModel(shape, decoder)
        if pretrained is not None:
            model.backbone.load_state_dict(pretrained)
        model.backbone.activation_checkpointing = train.activation_checkpointing
        if task.freeze or closed:
            model.backbone.requires_grad_(False)
        if task.lora_rank:
            add_adapters(model, task.lora_rank, task.lora_alpha)
        lower = task.monitor in decoder.head.lower_is_better
        best = KeepBest(task.monitor, task.patience, restores=task.keep_best, lower_is_better=lower)
        finishers: list[Callable[[Any], None]] = [merge_adapters] if task.lora_rank else []
        fit = ClosedForm() if closed else None
        settings = asdict(self.data)  # type: ignore[call-overload]
        if settings.get("reverse_complement", True) is None:
            settings["reverse_complement"] = data.reverse_complement
        name = f"{size_of(model)}, {trainable(model):,} of them trainable, from {source}"
        contents, unchanged = self.kept(train, shape, data, settings)
        return Run(
            Path(self.folder),
            model,
            objective,
            data,
            train,
            trainer,
            FinetuningReport(name, decoder, data, task, best, fit, baselines, chosen),
            contents | {"decoder": decoder.to_dict(), "task": asdict(task)},
            unchanged | {"task": fixed(task), "decoder": [field.name for field in fields(decoder)]},
            configuration=self.configuration,
            ckpt_path=self.ckpt_path,
            layer_decay=task.layer_decay,
            keep_best=best,
            fit=fit,
            finishers=finishers,
            console=console,
        )

    def question(self, data: DataModule, mode: str) -> DecoderConfig:
        """Return the head's configuration from the data's labels and the settings.

        Args:
            data: has the labels.
            mode: the pooling, `self.pooling.mode` or what was chosen for it.

        Raises:
            UserError: each position is to have weights of its own, and the sequences differ in length.
        """
        asked = data.decoder("mean")
        length = data.common_length if mode == "positions" else None
        if mode == "positions" and length is None:
            raise UserError(
                "decoder.mode=positions: the sequences differ in length; choose decoder.mode=attention, or "
                "cut them to one length (data.max_length)"
            )
        return replace(asked, **asdict(self.pooling) | {"mode": mode, "length": length})


def pretrained_model(
    model: Model | ModelConfig | str | Path | None, alphabet: str | None
) -> tuple[dict[str, Tensor] | None, ModelConfig, str]:
    """Return the backbone's weights, None where they are drawn; the shape; and what to call the source.

    Raises:
        UserError: there is no model there, or it is of another alphabet than `data.alphabet` asks for.
    """
    if isinstance(model, ModelConfig):
        if alphabet is not None and alphabet != model.alphabet:
            raise UserError(f"model.alphabet is {model.alphabet!r}, but data.alphabet is {alphabet!r}")
        return None, model, "random weights"
    source = "the package's yeast model" if model is None else str(model)
    if isinstance(model, str | Path | None):
        model = load(YEAST_MODEL if model is None else model)
    else:
        source = "a model in memory"
    if alphabet is not None and alphabet != model.config.alphabet:
        raise UserError(
            f"{source} is of alphabet {model.config.alphabet!r}, but data.alphabet is {alphabet!r}"
        )
    return model.backbone.state_dict(), model.config, source
