"""What a command is given, looked at before torch is imported: what is missing is told at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from dnamamba.commands.data_sets import settings_class
from dnamamba.commands.schema import typed
from dnamamba.commands.unused import absent
from dnamamba.errors import UserError
from dnamamba.hub import is_name
from dnamamba.weights import is_released, nearest

RUNS = ("last", "auto")  # words of ckpt_path


def check_given(cfg: DictConfig, *one_of: Sequence[str]) -> None:
    """Look for the settings that must be given.

    Args:
        cfg: the composed configuration, with `???` for each of them.
        one_of: keys of which one must be given, named where anything is missing.

    Raises:
        UserError: naming all that are missing, so that nobody learns of them one by one.
    """
    missing = sorted(key for key in OmegaConf.missing_keys(cfg) if not key.startswith("hydra"))
    if not missing:
        return
    for keys in one_of:
        if all(OmegaConf.select(cfg, key) is None for key in keys):
            missing.append(" or ".join(keys))
    raise UserError(f"{', '.join(missing)}: must be given")


def check_paths(cfg: DictConfig, *keys: str) -> None:
    """Look for every file or folder that `keys` name in a configuration; what is null is none.

    A model may also have a name, of a published one or `owner/name` of the Hugging Face Hub: `load` finds it.

    Raises:
        UserError: naming the key and what lies in its folder instead.
    """
    _check_files({key: None if absent(cfg, key) else OmegaConf.select(cfg, key) for key in keys})


def check_out(cfg: DictConfig) -> None:
    """Refuse an output that would take the place of a file that the command reads.

    Raises:
        UserError: naming the key of that file.
    """
    out = None if absent(cfg, "out") else cfg.out
    if not isinstance(out, str):
        return
    taken = _place(out)
    given = {key: None if OmegaConf.is_missing(cfg, key) else cfg[key] for key in cfg if key != "out"}
    for key, value in (pair for each, found in given.items() for pair in _paths(str(each), found)):
        other = os.path.expanduser(value)
        if os.path.isfile(other) and taken in (_place(value), os.path.realpath(other)):
            raise UserError(f"out={out}: is the file of {key}, which is read; choose another name")


def check_data(group: DictConfig, *, to_train: bool = True) -> None:
    """Check the `data` group against the types of its data set, and look for the files that it names.

    Of a data set outside the package nothing is known before torch is loaded, and nothing is checked.

    Args:
        group: `data` of the composed configuration.
        to_train: False: only look for files, since what is predicted for is less than what is trained on.

    Raises:
        UserError: a setting can't be used, or a file is not there.
    """
    settings = settings_class(group)
    if settings is None:
        return
    if to_train:
        given = OmegaConf.masked_copy(group, [str(key) for key in group if key != "_target_"])
        typed(given, settings, "data")
    _check_files({f"data.{key}": None if absent(group, key) else group[key] for key in settings.paths})


def _check_files(given: Mapping[str, Any]) -> None:
    """Look for the files and folders that the values of keys name.

    Raises:
        UserError: as `check_paths`.
    """
    for key, value in (pair for each, found in given.items() for pair in _paths(each, found)):
        if os.path.exists(os.path.expanduser(value)):
            continue
        if key == "model":
            if is_released(value) or is_name(value):
                continue
            raise UserError(f"model: no model at {value}{nearest(value) or _near(value)}")
        if key == "ckpt_path" and value in RUNS:
            continue
        raise UserError(f"{key}: no such file, {value}{_near(value)}")


def _paths(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the paths that the value of a key holds, in a map or in lists too, each by its own name."""
    if isinstance(value, DictConfig):
        for inner in value:
            found = None if OmegaConf.is_missing(value, inner) else value[inner]
            yield from _paths(f"{key}.{inner!s}", found)
    for path in value if isinstance(value, ListConfig) else [value]:
        if isinstance(path, str):
            yield key, path


def _place(value: str) -> str:
    """Return one name for a path, however it is written; a link in its place is not followed."""
    path = Path(os.path.expanduser(value))
    return os.path.join(os.path.realpath(path.parent), path.name)


def _near(value: str) -> str:
    """Suggest a name that may have been meant."""
    if value.startswith("~") and os.path.exists(value):
        return f"; ~ is the home folder: for the folder of that name write './{value}', in quotes"
    path = Path(os.path.expanduser(value))
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    close = get_close_matches(path.name, sorted(os.listdir(path.parent))[:2000], n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""
