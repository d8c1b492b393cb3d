"""The recipe of a fine-tuning run: settings in, a `Run` out."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dnamamba.checkpoint import Model, load
from dnamamba.data.embedded import YEAST_MODEL
from dnamamba.datasets.base import DataConfig, longest
from dnamamba.datasets.labelled import LabelledConfig
from dnamamba.datasets.positions import PositionsData
from dnamamba.errors import UserError
from dnamamba.models import ModelConfig
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.automatic import resolved
from dnamamba.training.config import FinetuneTrainConfig, TrainConfig
from dnamamba.training.fits.closed_form import check_closed
from dnamamba.training.lora import merge_adapters
from dnamamba.training.positions_tuned import positions_tuned
from dnamamba.training.recipe import Recipe, begun, fixed, kept, opened
from dnamamba.training.resume import earlier_contents
from dnamamba.training.run import Run
from dnamamba.training.sequences_tuned import sequences_tuned
from dnamamba.training.tuned import Pooling, Start


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
        train = self.train.in_sequences(longest(self.data))
        trainer, console = begun(
            train, self.trainer, self.folder, self.loggers, self.callbacks, quiet=self.quiet
        )
        task, closed = self.task, self.task.fit == "closed"
        if not isinstance(train, FinetuneTrainConfig):
            raise UserError("train: expected a FinetuneTrainConfig (got a TrainConfig); give one")
        if train.max_steps is None:
            raise UserError("train.max_steps: fine-tuning has no other end (got null); set a number")
        if self.trainer.context_size > 1:
            raise UserError(
                "trainer.context_size: a fine-tuning reads each sequence on one process (got "
                f"{self.trainer.context_size}); set 1"
            )
        if closed:
            check_closed(self.ckpt_path, trainer.world_size)
        start = pretrained_model(self.model, self.data.alphabet)
        with console.status("reading the sequences"):
            data = opened(self.data, start.shape.alphabet, train, self.trainer, console)
        whole = start.weights is not None and not (task.freeze or closed or task.lora_rank)
        earlier = earlier_contents(self.ckpt_path, Path(self.folder))
        train, task, counted = resolved(train, task, data, start.shape.depth if whole else None, earlier)
        trainer.val_check_interval = train.validate_every
        if isinstance(data, PositionsData):
            tuned = positions_tuned(data, start, self.pooling, task, train, trainer, counted)
            settings = asdict(data.config)
        else:
            tuned = sequences_tuned(data, start, self.pooling, task, train, console, counted)
            settings = asdict(self.data)  # type: ignore[call-overload]
            if settings.get("reverse_complement", True) is None:
                settings["reverse_complement"] = data.reverse_complement
        contents, unchanged = kept(train, start.shape, data, settings, self.data.free)
        finishers: list[Callable[[Any], None]] = [merge_adapters] if task.lora_rank else []
        return Run(
            Path(self.folder),
            tuned.model,
            tuned.objective,
            data,
            train,
            trainer,
            tuned.report,
            contents | {"decoder": tuned.model.decoder.to_dict(), "task": asdict(task)},
            unchanged | {"task": fixed(task), "decoder": tuned.unchanged},
            configuration=self.configuration,
            ckpt_path=self.ckpt_path,
            layer_decay=task.layer_decay,
            keep_best=tuned.best,
            fit=tuned.fit,
            finishers=finishers,
            console=console,
        )


def pretrained_model(model: Model | ModelConfig | str | Path | None, alphabet: str | None) -> Start:
    """Return what the backbone begins with.

    Raises:
        UserError: there is no model there, or it is of another alphabet than `data.alphabet` asks for.
    """
    if isinstance(model, ModelConfig):
        if alphabet is not None and alphabet != model.alphabet:
            raise UserError(f"model.alphabet is {model.alphabet!r}, but data.alphabet is {alphabet!r}")
        return Start(None, model, "random weights")
    source = "the package's yeast model" if model is None else str(model)
    if isinstance(model, str | Path | None):
        model = load(YEAST_MODEL if model is None else model)
    else:
        source = "a model in memory"
    if alphabet is not None and alphabet != model.config.alphabet:
        raise UserError(
            f"{source} is of alphabet {model.config.alphabet!r}, but data.alphabet is {alphabet!r}"
        )
    return Start(model.backbone.state_dict(), model.config, source)
