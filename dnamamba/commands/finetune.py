"""What `dnamamba finetune` does: a configuration to a run."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.settings import (
    callbacks_of,
    check_groups,
    data_config,
    loggers_of,
    model_config,
    print_published,
)
from dnamamba.config import typed
from dnamamba.datasets.base import DataConfig
from dnamamba.errors import UserError
from dnamamba.models import ModelConfig
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.config import FinetuneTrainConfig, TrainerConfig
from dnamamba.training.finetuning import Finetuning, Pooling

GROUPS = ("data", "decoder", "task", "train", "trainer", "logger", "scratch")
OTHERS = ("mode", "model", "ckpt_path")
SCRATCH = "scratch"


def finetune(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Fine-tune as `cfg` (conf/finetune.yaml) says; see `Finetuning`.

    Returns:
        What metrics.json holds; nothing in a process that is not the run's first.
    """
    if cfg.mode != "train":
        raise UserError(f"mode must be train, predict or plan, not {cfg.mode!r}")
    result = settings_of(cfg, folder).run()
    if result is None:
        return {}
    print_published()
    return result.results


def settings_of(cfg: DictConfig, folder: Path) -> Finetuning:
    """The typed settings of a configuration.

    Raises:
        UserError: a key is unknown or a value can't be used; the message names the key.
    """
    check_groups(cfg, GROUPS, OTHERS)
    data = data_config(cfg.data)
    return Finetuning(
        folder,
        data,
        model_of(cfg, data),
        typed(cfg.decoder, Pooling, "decoder"),
        typed(cfg.task, TaskConfig, "task"),
        train=typed(cfg.train, FinetuneTrainConfig, "train"),
        trainer=typed(cfg.trainer, TrainerConfig, "trainer"),
        ckpt_path=cfg.ckpt_path,
        loggers=loggers_of(cfg.logger, folder),
        callbacks=callbacks_of(cfg.get("callbacks")),
        configuration=OmegaConf.to_yaml(cfg, resolve=True),
    )


def model_of(cfg: DictConfig, data: DataConfig) -> str | ModelConfig | None:
    """Where the pretrained model lies; None for the package's; or the shape to draw weights for.

    Raises:
        UserError: something else.
    """
    if isinstance(cfg.model, DictConfig):
        return model_config(cfg.model, data.alphabet)
    if not isinstance(cfg.model, str | None):
        raise UserError(f"model must be a path, {SCRATCH} or null, not {cfg.model!r}")
    return model_config(cfg.scratch, data.alphabet) if cfg.model == SCRATCH else cfg.model
