"""The recipe of a pretraining run: settings in, a `Run` out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning

from dnamamba.data.alphabet import get_alphabet
from dnamamba.datasets.base import DataConfig, filled, longest
from dnamamba.datasets.genome import GenomeConfig
from dnamamba.errors import UserError
from dnamamba.models import LanguageModel, MambaConfig, ModelConfig
from dnamamba.models.base import need
from dnamamba.objectives.base import Objective
from dnamamba.plugins import imported
from dnamamba.reports.pretraining import PretrainingReport
from dnamamba.terminal import Console
from dnamamba.training.config import TrainConfig, TrainerConfig
from dnamamba.training.context import check_context
from dnamamba.training.run import Result, Run, run_folder, size_of
from dnamamba.training.trainer import build_trainer

NEXT_BASE = "dnamamba.objectives.next_base.NextBase"


@dataclass(frozen=True)
class Pretraining:
    """Pretrain a language model: the settings of one run, each with the default of the command line.

    >>> from dnamamba import GenomeConfig, MambaConfig, Pretraining, TrainConfig
    >>> run = Pretraining(
    ...     "runs/yeast",
    ...     data=GenomeConfig(max_length=256, markov_orders=[0]),
    ...     model=MambaConfig(d_model=16, n_layer=1),
    ...     train=TrainConfig(max_steps=20),
    ...     quiet=True,
    ... )
    >>> result = run.run()
    >>> sorted(result.results["bits_per_base"]), result.results["steps"]
    (['test', 'valid'], 20)
    >>> result.model.config.d_model
    16
    >>> [row["step"] for row in result.history if "train/loss" in row]
    [4.0, 9.0, 14.0, 19.0]

    Attributes:
        folder: takes config.yaml, checkpoints/last.ckpt, model/, metrics.csv, results.json and
            learning_curve.png.
        data: what is read, and how.
        model: the family and shape.
        objective: what is trained for: the import path of an `Objective`, by default of `NextBase`.
        objective_options: keyword arguments of the objective.
        train: steps, learning rate, rhythm.
        trainer: devices and precision.
        ckpt_path: what to resume: a checkpoint, a run's folder, `last`, or `auto`.
        loggers, callbacks: Lightning's, the user's own. metrics.csv is written in any case.
        configuration: the text of config.yaml.
        quiet: print nothing.
    """

    folder: str | Path
    data: DataConfig = field(default_factory=GenomeConfig)
    model: ModelConfig = field(default_factory=lambda: MambaConfig(d_model=64, n_layer=2))
    objective: str = NEXT_BASE
    objective_options: dict[str, Any] = field(default_factory=dict)
    train: TrainConfig = field(default_factory=TrainConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    ckpt_path: str | None = None
    loggers: Sequence[Any] = ()
    callbacks: Sequence[lightning.Callback] = ()
    configuration: str | None = None
    quiet: bool = False

    def run(self) -> Result | None:
        """Train; see `Run.execute`."""
        return self.build().execute()

    def build(self) -> Run:
        """Read the data and check every setting; nothing is written.

        Raises:
            UserError: a setting, a file or the checkpoint can't be used; the message names it.
        """
        train, folder = self.train.in_sequences(longest(self.data)), run_folder(self.folder)
        console = Console(quiet=self.quiet)
        config = fitting_model(self.model, self.data.alphabet)
        objective = build_objective(self.objective, self.objective_options, config)
        lightning.seed_everything(train.seed, verbose=False)
        model = LanguageModel(config)
        need(model.backbone, objective.needs, f"objective={self.objective.rpartition('.')[2]}")
        model.backbone.activation_checkpointing = train.activation_checkpointing
        trainer = build_trainer(self.trainer, train, folder, self.loggers, self.callbacks)
        console.quiet = self.quiet or not trainer.is_global_zero
        settings = filled(self.data, config.alphabet)
        data = settings.build(
            train.seed,
            global_batch_size=train.sequences_per_step,
            max_steps=train.max_steps,
            world_size=self.trainer.data_processes,
        )
        data.console = console
        data.context_size = self.trainer.context_size
        stages = data.schedule.stages
        check_context(self.trainer.context_size, model.backbone, objective, stages, compiled=train.compile)
        return Run(
            folder,
            model,
            objective,
            data,
            train,
            trainer,
            PretrainingReport(
                size_of(model), data, data.schedule.stages[-1].bases_per_step, objective.meter().headline
            ),
            contents={
                "family": config.family,
                "model": config.to_dict(),
                "objective": {"name": self.objective, **objective.unchanged()},
                "data": asdict(settings),
                "train": asdict(train),
                "genome": data.identity,
            },
            unchanged={
                "objective": ["name", *objective.unchanged()],
                "data": fixed(self.data),
                "train": fixed(train),
                "genome": list(data.identity),
            },
            configuration=self.configuration,
            ckpt_path=self.ckpt_path,
            context_size=self.trainer.context_size,
            console=console,
        )


def fixed(config: Any) -> list[str]:
    """Return names of the fields that a resumed run must find again: all but the `free` ones."""
    return [name for name in asdict(config) if name not in config.free]


def build_objective(path: str, options: dict[str, Any], config: ModelConfig) -> Objective:
    """Return the objective at an import path, for models of this shape.

    Args:
        path: import path of the class.
        options: its further settings.
        config: of the model.

    Raises:
        UserError: there is none, or it does not take these options.
    """
    found = imported(path, Objective, "objective")
    try:
        return found(config, **options)
    except TypeError as error:
        raise UserError(f"objective: {path} can't be built with {', '.join(options)} ({error})") from error


def fitting_model(config: ModelConfig, alphabet: str | None) -> ModelConfig:
    """Return the same shape, checked against the alphabet of the data.

    Raises:
        UserError: they are of different alphabets, or there are more letters than the model has ids.
    """
    found = get_alphabet(alphabet or config.alphabet)
    if config.alphabet != found.name:
        raise UserError(f"model.alphabet is {config.alphabet!r}, but data.alphabet is {found.name!r}")
    if config.vocab_size < found.size:
        raise UserError(
            f"model.vocab_size is {config.vocab_size}, but alphabet {found.name!r} has {found.size} ids"
        )
    return config
