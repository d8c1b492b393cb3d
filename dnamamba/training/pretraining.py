"""The recipe of a pretraining run: settings in, a `Run` out."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dnamamba.data.alphabet import get_alphabet
from dnamamba.datasets.base import DataConfig, filled, longest
from dnamamba.datasets.genome import GenomeConfig
from dnamamba.errors import UserError
from dnamamba.models import LanguageModel, MambaConfig, ModelConfig
from dnamamba.models.base import need
from dnamamba.objectives.base import Objective
from dnamamba.plugins import imported
from dnamamba.reports.pretraining import PretrainingReport
from dnamamba.training.config import TrainConfig
from dnamamba.training.context import check_context
from dnamamba.training.recipe import Recipe, begun, kept, opened
from dnamamba.training.run import Run, size_of

NEXT_BASE = "dnamamba.objectives.next_base.NextBase"


@dataclass(frozen=True)
class Pretraining(Recipe):
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
        data: what is read, and how; by default the windows of the package's yeast genome.
        model: the family and shape.
        objective: what is trained for: the import path of an `Objective`, by default of `NextBase`.
        objective_options: keyword arguments of the objective.
        train, trainer, ckpt_path, loggers, callbacks, configuration, quiet: see `Recipe`.
    """

    data: DataConfig = field(default_factory=GenomeConfig)
    model: ModelConfig = field(default_factory=lambda: MambaConfig(d_model=64, n_layer=2))
    objective: str = NEXT_BASE
    objective_options: dict[str, Any] = field(default_factory=dict)
    train: TrainConfig = field(default_factory=TrainConfig, kw_only=True)

    def build(self) -> Run:
        """See `Recipe.build`."""
        train = self.train.in_sequences(longest(self.data))
        trainer, console = begun(
            train, self.trainer, self.folder, self.loggers, self.callbacks, quiet=self.quiet
        )
        config = fitting_model(self.model, self.data.alphabet)
        objective = build_objective(self.objective, self.objective_options, config)
        model = LanguageModel(config)
        need(model.backbone, objective.needs, f"objective={self.objective.rpartition('.')[2]}")
        model.backbone.activation_checkpointing = train.activation_checkpointing
        data = opened(self.data, config.alphabet, train, self.trainer, console)
        stages = data.schedule.stages
        report = data.report or PretrainingReport
        check_context(self.trainer.context_size, model.backbone, objective, stages, compiled=train.compile)
        settings = asdict(filled(self.data, config.alphabet))
        contents, unchanged = kept(train, config, data, settings, self.data.free)
        return Run(
            Path(self.folder),
            model,
            objective,
            data,
            train,
            trainer,
            report(size_of(model), data, stages[-1].bases_per_step, objective.meter().headline),
            contents | {"objective": {"name": self.objective, **objective.unchanged()}},
            unchanged | {"objective": ["name", *objective.unchanged()]},
            configuration=self.configuration,
            ckpt_path=self.ckpt_path,
            context_size=self.trainer.context_size,
            console=console,
        )


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
