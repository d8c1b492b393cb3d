"""A user's own YAML files, looked at before Hydra reads them: a small one may expand without end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnamamba.documents import check_file

_FOLDERS = ("--config-dir", "-cd", "--config-path", "-cp")
_SEARCHED = "hydra.searchpath"


def check_folders(arguments: Sequence[str]) -> None:
    """Check every YAML file of the folders that a command line adds to the configuration.

    Raises:
        UserError: naming the file.
    """
    for place, argument in enumerate(arguments):
        flag, sign, value = argument.partition("=")
        folders = []
        if flag in _FOLDERS:
            folders = [value if sign else "".join(arguments[place + 1 : place + 2])]
        elif flag.lstrip("+") == _SEARCHED:
            folders = [_bare(part) for part in value.strip().removeprefix("[").removesuffix("]").split(",")]
        for folder in map(Path, folders):
            for path in sorted(folder.rglob("*.yaml")) if folder.is_dir() else ():
                check_file(path)


def _bare(place: str) -> str:
    """Return the folder of a place that Hydra searches; one that is not a folder's is left to Hydra."""
    return place.strip().strip("'\"").removeprefix("file://")
