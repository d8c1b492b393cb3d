"""A user's own YAML files, looked at before Hydra reads them: a small one may expand without end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnamamba.documents import check_file

_FOLDERS = ("--config-dir", "-cd", "--config-path", "-cp")


def check_folders(arguments: Sequence[str]) -> None:
    """Check every YAML file of the folders that a command line adds to the configuration.

    Raises:
        UserError: naming the file.
    """
    for place, argument in enumerate(arguments):
        flag, sign, value = argument.partition("=")
        if flag in _FOLDERS:
            folder = Path(value if sign else "".join(arguments[place + 1 : place + 2]))
            for path in sorted(folder.rglob("*.yaml")) if folder.is_dir() else ():
                check_file(path)
