"""From a composed configuration to the typed settings of a run; no other file of the package knows both."""

from inspect import signature
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.data_sets import target_of
from dnamamba.commands.experiments import measured, published
from dnamamba.config import typed
from dnamamba.data.alphabet import get_alphabet
from dnamamba.datasets.base import DataConfig, DataModule
from dnamamba.errors import UserError
from dnamamba.models import ModelConfig
from dnamamba.models.families import family_config
from dnamamba.optional import need
from dnamamba.training.config import TrainConfig, TrainerConfig

CSV = "lightning.pytorch.loggers.CSVLogger"  # which every run has anyway
PACKAGES = {
    "lightning.pytorch.loggers.TensorBoardLogger": "tensorboard",
    "lightning.pytorch.loggers.WandbLogger": "wandb",
    "lightning.pytorch.loggers.MLFlowLogger": "mlflow",
}
"""What a logger needs, which is also the name of the extra that brings it."""


def as_typed_notes(cfg: DictConfig) -> dict[str, str]:
    """Return Hydra's notes of a command line, by their path in the run's folder; nothing outside a command.

    Hydra itself would write it before the run knows that the folder is another's.
    """
    if not HydraConfig.initialized():
        return {}
    hydra: Any = HydraConfig.instance().cfg
    texts = {"config": cfg, "hydra": hydra, "overrides": hydra.hydra.overrides.task}
    return {f".hydra/{name}.yaml": OmegaConf.to_yaml(value) for name, value in texts.items()}


def data_config(group: DictConfig) -> DataConfig:
    """Return the settings of the data set that `data._target_` names; without one, of a genome's windows.

    Raises:
        UserError: there is no such class, or a setting is wrong.
    """
    name = target_of(group)
    try:
        found = get_class(name)
    except Exception as error:  # Hydra raises many types for a path that is none
        reason = " ".join(str(error).split())
        raise UserError(f"data._target_={name} is not a data module ({reason})") from None
    if not issubclass(found, DataModule):
        raise UserError(f"data._target_={name} is not a DataModule")
    rest = OmegaConf.masked_copy(group, [str(key) for key in group if key != "_target_"])
    return typed(rest, found.config_class, "data")


def model_config(group: DictConfig, alphabet: str | None) -> ModelConfig:
    """Return the family and shape of a `model` group; a vocabulary left open is the alphabet's.

    Raises:
        UserError: there is no such family, or a number is out of range.
    """
    values: dict[str, Any] = OmegaConf.to_container(group, resolve=True)  # type: ignore[assignment]
    found = family_config(str(values.pop("family", "mamba")))
    values.setdefault("alphabet", alphabet or "dna")
    if not isinstance(values["alphabet"], str):
        found_instead = values["alphabet"]
        raise UserError(
            f"model.alphabet: must be a name (got {found_instead!r}); leave it out for the data's"
        )
    if values.get("vocab_size") is None:
        values["vocab_size"] = get_alphabet(values["alphabet"]).size
    return typed(OmegaConf.create(values), found, "model")


def shared_settings(cfg: DictConfig, folder: Path, train: type[TrainConfig]) -> dict[str, Any]:
    """Return what every recipe takes (`dnamamba.training.recipe.Recipe`), by keyword.

    Args:
        cfg: of the run.
        folder: of its files.
        train: the class of the `train` group.

    Raises:
        UserError: a key is unknown or a value can't be used; the message names the key.
    """
    return {
        "train": typed(cfg.train, train, "train"),
        "trainer": typed(cfg.trainer, TrainerConfig, "trainer"),
        "ckpt_path": cfg.ckpt_path,
        "loggers": loggers_of(cfg.logger, folder),
        "callbacks": callbacks_of(cfg.get("callbacks")),
        "configuration": OmegaConf.to_yaml(cfg, resolve=True),
    }


def print_published() -> None:
    """Print what the paper reports of the experiment that the command line names, and what we measured."""
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    name = choices.get("experiment")
    for line in (published(name), measured(name)):
        if line is not None:
            print(line)


def loggers_of(group: DictConfig | None, folder: Path) -> list[Any]:
    """Return Lightning's loggers besides metrics.csv: the `logger` group, each by a name.

    Raises:
        UserError: one can't be built, for example since its package is not installed.
    """
    if group and "_target_" in group:  # as configurations of version 0.1 have it, csv among them
        group = OmegaConf.create({} if group["_target_"] == CSV else {"logger": group})
    built = []
    for name, each in (group or {}).items():
        target = each.get("_target_") if isinstance(each, DictConfig) else None
        if target in PACKAGES:
            need(PACKAGES[target], PACKAGES[target], f"logger={name!s}")
        options = {"save_dir": str(folder)} if _takes(target, "save_dir") else {}
        built.append(_built(each, f"logger.{name!s}", **options))
    return built


def callbacks_of(group: DictConfig | None) -> list[Any]:
    """Return Lightning's callbacks of the user's own: the `callbacks` group, each by a name.

    Raises:
        UserError: one can't be built.
    """
    return [_built(each, f"callbacks.{name!s}") for name, each in (group or {}).items()]


def _takes(target: Any, name: str) -> bool:
    """Return whether the class at an import path has an argument of that name; False without a class."""
    try:
        return name in signature(get_class(target)).parameters
    except Exception:  # whatever a user's module raises; to build the class says so
        return False


def _built(group: Any, key: str, **options: Any) -> Any:
    if not isinstance(group, DictConfig) or "_target_" not in group:
        raise UserError(f"{key}: must be a group with _target_, the import path of a class (got {group!r})")
    try:
        return instantiate(group, **options)
    except Exception as error:  # a user's class may raise anything
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{key}: cannot build {group._target_} ({reason})") from error
