"""A user's own YAML files, looked at before Hydra reads them: a small one may expand without end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from dnamamba.errors import UserError

BYTES, VALUES, DEPTH = 1 << 20, 100_000, 100
"""The most that a file may have: bytes, values once its aliases (`*name`) are written out, and levels."""

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


def check_file(path: Path) -> None:
    """Check one file; what is not YAML at all is left to Hydra, which names the line.

    Raises:
        UserError: it is too large, not UTF-8, nested too deeply, or its aliases expand without end.
    """
    try:
        if path.stat().st_size > BYTES:
            raise UserError(f"{path}: more than {BYTES:,} bytes; a configuration is small")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    try:
        _check_events(yaml.parse(text, Loader=yaml.SafeLoader), path)
    except yaml.YAMLError:
        return


def _check_events(events: Iterable[yaml.Event], path: Path) -> None:
    sizes: dict[str, int] = {}  # of what has an anchor, written out
    open_: list[tuple[str | None, int]] = []  # anchors of the collections around, and the values before them
    size = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_):
                raise UserError(f"{path}: *{event.anchor} holds itself; write out what is meant")
            size += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, size))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            size += 1
            if anchor is not None:
                sizes[anchor] = size - before
        elif isinstance(event, yaml.ScalarEvent):
            size += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if size > VALUES:
            raise UserError(
                f"{path}: its aliases expand to more than {VALUES:,} values; write out what is meant"
            )
        if len(open_) > DEPTH:
            raise UserError(f"{path}: nested more than {DEPTH} levels deep")
