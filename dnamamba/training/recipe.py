"""What the recipes of all runs have in common: their settings, and how a run is begun and put together."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning

from dnamamba.datasets.base import DataConfig, DataModule, filled
from dnamamba.models import ModelConfig
from dnamamba.terminal import Console
from dnamamba.training.config import TrainConfig, TrainerConfig
from dnamamba.training.run import Result, Run, run_folder
from dnamamba.training.trainer import build_trainer


@dataclass(frozen=True)
class Recipe(ABC):
    """The settings that each kind of run has.

    Attributes:
        folder: takes all that the run writes.
        data: what is read, and how.
        model: a model, where it lies, or its family and shape.
        train: steps, learning rate, rhythm.
        trainer: devices and precision.
        ckpt_path: what to resume: a checkpoint, a run's folder, `last`, or `auto`.
        loggers, callbacks: Lightning's, the user's own. metrics.csv is written in any case.
        configuration: the text of config.yaml.
        quiet: print nothing.
    """

    folder: str | Path
    data: DataConfig
    model: Any
    _: KW_ONLY
    train: TrainConfig
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    ckpt_path: str | None = None
    loggers: Sequence[Any] = ()
    callbacks: Sequence[lightning.Callback] = ()
    configuration: str | None = None
    quiet: bool = False

    def run(self) -> Result | None:
        """Train; see `Run.execute`."""
        return self.build().execute()

    @abstractmethod
    def build(self) -> Run:
        """Read the data and the model and check every setting; nothing is written.

        Raises:
            UserError: a setting, a file, the model or the checkpoint can't be used; the message names it.
        """


def begun(
    train: TrainConfig,
    config: TrainerConfig,
    folder: str | Path,
    loggers: Sequence[Any],
    callbacks: Sequence[lightning.Callback],
    *,
    quiet: bool,
) -> tuple[lightning.Trainer, Console]:
    """Return Lightning's trainer and a console; from here on random numbers are those of the seed.

    Args:
        train: the steps, in sequences.
        config: of the devices.
        folder: of the run.
        loggers, callbacks: the user's own.
        quiet: whether to print nothing.
    """
    trainer = build_trainer(config, train.filled(), run_folder(folder), loggers, callbacks)
    lightning.seed_everything(train.seed, verbose=False)
    return trainer, Console(quiet=quiet or not trainer.is_global_zero)


def opened(
    config: DataConfig, alphabet: str, train: TrainConfig, trainer: TrainerConfig, console: Console
) -> DataModule:
    """Return the data, in the alphabet of a model.

    Args:
        config: what is read, and how.
        alphabet: of the model.
        train: the steps, in sequences.
        trainer: says which processes read.
        console: shows the progress.
    """
    data: DataModule = filled(config, alphabet).build(
        train.seed,
        global_batch_size=train.sequences_per_step,
        max_steps=train.filled().max_steps,
        world_size=trainer.data_processes,
    )
    data.console = console
    data.context_size = trainer.context_size
    return data


def kept(
    train: TrainConfig, shape: ModelConfig, data: DataModule, settings: dict[str, Any], free: Sequence[str]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """List what checkpoints of every run hold, and what a resumed run must find again, by group.

    Args:
        train: the steps, in sequences.
        shape: of the model.
        data: what is read.
        settings: of the data.
        free: those of them that may differ.
    """
    contents = {
        "family": shape.family,
        "model": shape.to_dict(),
        "data": settings,
        "train": asdict(train),
        "genome": data.identity,
    }
    of_data = [name for name in settings if name not in free]
    return contents, {"data": of_data, "train": fixed(train), "genome": list(data.identity)}


def fixed(config: Any) -> list[str]:
    """Return names of the fields that a resumed run must find again: all but the `free` ones."""
    return [name for name in asdict(config) if name not in config.free]
