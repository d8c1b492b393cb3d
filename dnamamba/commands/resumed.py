"""`ckpt_path=<run folder>` alone: a run resumes with its own configuration and what else is typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from dnamamba.commands.unused import last_unit
from dnamamba.documents import check_file
from dnamamba.errors import UserError
from dnamamba.escaping import bounded, printable

CONFIGURATION = "config.yaml"


def own_configuration(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of the run that `ckpt_path` names by its folder, changed by the overrides.

    Args:
        cfg: as composed from the command line.
        overrides: as typed. Of a group that is chosen anew, such as `trainer=gpu`, all of it is taken.

    Returns:
        `cfg` itself where `ckpt_path` is not a run's folder, or is one without a configuration.

    Raises:
        UserError: the run's configuration is damaged, or an experiment is given or a key removed.
    """
    folder = cfg.get("ckpt_path")
    path = Path(os.path.expanduser(folder)) / CONFIGURATION if isinstance(folder, str) else None
    if path is None or not path.is_file():
        return cfg
    check_file(path)
    try:
        saved = OmegaConf.load(path)
    except (OSError, ValueError, YAMLError) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())})") from None
    if not isinstance(saved, DictConfig):
        raise UserError(f"{path}: not a configuration")
    changes = []
    for override in overrides:
        key = override.partition("=")[0].lstrip("+").partition("@")[0]
        if key == "experiment" or key.startswith("~"):
            raise UserError(
                f"{override}: does not go with ckpt_path={folder}, whose run has its own configuration; "
                f"leave it out, or give ckpt_path={folder}/checkpoints/last.ckpt and all settings"
            )
        if not key.startswith("hydra"):
            before, now = OmegaConf.select(saved, key), OmegaConf.select(cfg, key)
            if key != "ckpt_path" and before != now:
                changes.append(f"{key}={_shown(now)} instead of {_shown(before)}")
            OmegaConf.update(saved, key, OmegaConf.select(cfg, key), merge=False, force_add=True)
    # Keys that are newer than the run.
    for newer in set(cfg) - set(saved):
        saved[newer] = cfg[newer]
    last_unit(saved, overrides)
    but = f", but {'; '.join(changes)}" if changes else ""
    line = printable(f"dnamamba: resuming with the configuration of {path}{but}")
    print(bounded(line), file=sys.stderr)
    return saved


def _shown(value: Any) -> str:
    """Return a setting as it is typed; a group is not spelt out."""
    if isinstance(value, DictConfig):
        return "another group"
    return "null" if value is None else printable(str(value))
