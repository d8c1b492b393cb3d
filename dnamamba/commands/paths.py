"""Files that a command is given, looked for before torch is imported: a wrong name is told at once."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.unused import absent
from dnamamba.errors import UserError
from dnamamba.hub import is_name


def check_paths(cfg: DictConfig, *keys: str) -> None:
    """Look for every file or folder that `keys` name in a configuration; what is null is none.

    A model may also be of the Hugging Face Hub, by `owner/name`: that is for `load` to find.

    Raises:
        UserError: naming the key and what lies in its folder instead.
    """
    for key in keys:
        value = None if absent(cfg, key) else OmegaConf.select(cfg, key)
        if not isinstance(value, str) or os.path.exists(os.path.expanduser(value)):
            continue
        if key == "model" and is_name(value):
            continue
        raise UserError(
            f"{key}: {'no model at' if key == 'model' else 'no such file,'} {value}{_near(value)}"
        )


def _near(value: str) -> str:
    """What the name may have been meant for."""
    if value.startswith("~") and os.path.exists(value):
        return f"; ~ is the home folder: for the folder of that name write './{value}', in quotes"
    path = Path(os.path.expanduser(value))
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    close = get_close_matches(path.name, sorted(os.listdir(path.parent))[:2000], n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""
