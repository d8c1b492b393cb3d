"""What `dnamamba finetune` does: a configuration to a run."""

import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dnamamba.auto import AUTO
from dnamamba.commands.settings import (
    as_typed_notes,
    data_config,
    model_config,
    print_published,
    shared_settings,
)
from dnamamba.commands.sweep import Headline
from dnamamba.commands.unused import FINETUNING, OF_FINETUNING, check_groups
from dnamamba.config import typed
from dnamamba.errors import UserError
from dnamamba.models import ModelConfig, PositionModel, SequenceModel
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.config import FinetuneTrainConfig
from dnamamba.training.finetuning import Finetuning
from dnamamba.training.run import Run
from dnamamba.training.tuned import Pooling

SCRATCH = "scratch"


def finetune(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Fine-tune as `cfg` (conf/finetune.yaml) says; see `Finetuning`.

    Returns:
        What metrics.json holds; nothing in a process that is not the run's first.
    """
    return finetune_and_judge(cfg, folder)[0]


def finetune_and_judge(cfg: DictConfig, folder: Path) -> tuple[dict[str, Any], Headline | None]:
    """Run `finetune`, and return its results and the number to choose runs by.

    That is `task.monitor` on validation, or for the loss the head's own metric.
    """
    if cfg.mode != "train":
        raise UserError(f"mode: must be train, predict or plan (got {cfg.mode!r})")
    run = settings_of(cfg, folder).build()
    run.configuration = OmegaConf.to_yaml(_with_numbers(cfg, run), resolve=True)
    run.notes = as_typed_notes(cfg)
    result = run.execute()
    if result is None:
        return {}, None
    print_published()
    assert isinstance(result.model, SequenceModel | PositionModel)
    head, valid = result.model.decoder.head, result.results["valid"]
    metric = cfg.task.monitor if cfg.task.monitor in valid else head.headline
    value = valid[metric]["value"]
    lower = metric in head.lower_is_better
    return result.results, Headline(metric, math.nan if value is None else value, lower)


def _with_numbers(cfg: DictConfig, run: Run) -> DictConfig:
    """Return the configuration with what the data's size set in place of `auto`."""
    settled = cfg.copy()
    for group in ("train", "task"):
        for key, value in run.contents[group].items():
            if settled[group].get(key) == AUTO:
                settled[group][key] = value
    return settled


def settings_of(cfg: DictConfig, folder: Path) -> Finetuning:
    """Return the typed settings of a configuration.

    Raises:
        UserError: a key is unknown or a value can't be used; the message names the key.
    """
    check_groups(cfg, FINETUNING, OF_FINETUNING)
    data = data_config(cfg.data)
    return Finetuning(
        folder,
        data,
        model_of(cfg.model, cfg.scratch, data.alphabet),
        typed(cfg.decoder, Pooling, "decoder"),
        typed(cfg.task, TaskConfig, "task"),
        **shared_settings(cfg, folder, FinetuneTrainConfig),
    )


def model_of(model: Any, scratch: DictConfig, alphabet: str | None) -> str | ModelConfig | None:
    """Return the pretrained model's path; None for the package's; or the shape to draw weights for.

    Args:
        model: of the configuration: a path, `scratch`, null or a group of settings.
        scratch: the group that `scratch` stands for.
        alphabet: of the data.

    Raises:
        UserError: the model is something else.
    """
    if isinstance(model, DictConfig):
        return model_config(model, alphabet)
    if not isinstance(model, str | None):
        raise UserError(f"model: expected a path, {SCRATCH} or null (got {model!r}); give one of these")
    return model_config(scratch, alphabet) if model == SCRATCH else model
