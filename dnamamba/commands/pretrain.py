"""What `dnamamba pretrain` does: a configuration to a run."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.settings import (
    as_typed_notes,
    data_config,
    model_config,
    print_published,
    shared_settings,
)
from dnamamba.commands.sweep import Headline
from dnamamba.commands.unused import check_groups
from dnamamba.errors import UserError
from dnamamba.training.config import TrainConfig
from dnamamba.training.pretraining import NEXT_BASE, Pretraining

GROUPS = ("data", "model", "train", "trainer", "logger")
OTHERS = ("ckpt_path", "objective")


def pretrain(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Pretrain as `cfg` (conf/pretrain.yaml) says; see `Pretraining`.

    Returns:
        What results.json holds; nothing in a process that is not the run's first.
    """
    return pretrain_and_judge(cfg, folder)[0]


def pretrain_and_judge(cfg: DictConfig, folder: Path) -> tuple[dict[str, Any], Headline | None]:
    """Run `pretrain`, and return the number to choose runs by: of the validation, None without one."""
    run = settings_of(cfg, folder).build()
    run.notes = as_typed_notes(cfg)
    result = run.execute()
    if result is None:
        return {}, None
    print_published()
    meter = run.objective.meter()
    found = result.results[meter.headline].get("valid")
    lower = meter.lower_is_better
    return result.results, None if found is None else Headline(meter.headline, found, lower_is_better=lower)


def settings_of(cfg: DictConfig, folder: Path) -> Pretraining:
    """Return the typed settings of a configuration.

    Raises:
        UserError: a key is unknown or a value can't be used; the message names the key.
    """
    check_groups(cfg, GROUPS, OTHERS)
    data = data_config(cfg.data)
    objective, options = objective_of(cfg)
    return Pretraining(
        folder,
        data,
        model_config(cfg.model, data.alphabet),
        objective=objective,
        objective_options=options,
        **shared_settings(cfg, folder, TrainConfig),
    )


def objective_of(cfg: DictConfig) -> tuple[str, dict[str, Any]]:
    """Return the import path of the objective, which is the next base where none is named, and its options.

    Raises:
        UserError: the group is something else.
    """
    group = cfg.get("objective", OmegaConf.create())
    if not isinstance(group, DictConfig):
        raise UserError(
            f"objective: must be a group of settings (got {group!r}); leave it out for the next base"
        )
    options: dict[str, Any] = OmegaConf.to_container(group)  # type: ignore[assignment]
    name = options.pop("_target_", NEXT_BASE)
    if not isinstance(name, str):
        raise UserError(f"objective._target_: must be the import path of an objective (got {name!r})")
    return name, options
