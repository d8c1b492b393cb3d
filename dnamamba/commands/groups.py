"""Which groups of settings a run of a command has, told without Lightning."""

from collections.abc import Sequence

from omegaconf import DictConfig

from dnamamba.errors import UserError
from dnamamba.plugins import load_plugins

FINETUNING = ("data", "decoder", "task", "train", "trainer", "logger", "scratch")
OF_FINETUNING = ("mode", "model", "ckpt_path")  # settings outside these groups


def check_groups(cfg: DictConfig, groups: Sequence[str], others: Sequence[str]) -> None:
    """Check that a configuration has groups where groups belong, and nothing unknown; import its plugins.

    Args:
        cfg: the configuration.
        groups: names that must be groups of settings.
        others: other names that are allowed.

    Raises:
        UserError: naming the key.
    """
    known = (*groups, *others, "callbacks", "plugins")
    unknown = [str(key) for key in cfg if key not in known]
    if unknown:
        raise UserError(f"unknown setting {', '.join(unknown)}; the settings are {', '.join(known)}")
    for key in groups:
        if not isinstance(cfg[key], DictConfig):
            raise UserError(f"{key}: must be a group of settings (got {cfg[key]!r})")
    callbacks = cfg.get("callbacks")
    if callbacks is not None and not isinstance(callbacks, DictConfig):
        raise UserError(
            f"callbacks: must be a group with a name for each (got {callbacks!r}); set "
            "+callbacks.mine._target_=my_package.MyCallback"
        )
    if not isinstance(cfg.ckpt_path, str | None):
        raise UserError(f"ckpt_path: must be a path or `last` (got {cfg.ckpt_path!r})")
    load_plugins(list(cfg.get("plugins") or []))
