"""JSON and YAML that a run or a user left: read within bounds, or one line on what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dnamamba.errors import UserError
from dnamamba.escaping import printable

BYTES, VALUES, DEPTH = 1 << 20, 100_000, 100
"""The most that a YAML file may have: bytes, values with its aliases (`*name`) written out, and levels."""
JSON_BYTES = 1 << 26


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Args:
        path: of the file.
        advice: what to do about a damaged one.

    Raises:
        UserError: it can't be read, is too large, or holds anything but an object.
    """
    try:
        if path.stat().st_size > JSON_BYTES:
            raise UserError(f"{path}: expected at most {JSON_BYTES:,} bytes of JSON; {advice}")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); {advice}") from None
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error, advice) from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a JSON object (got {type(found).__name__}); {advice}")
    return found


def read_yaml(path: Path, advice: str) -> dict[str, Any]:
    """Return the map that a YAML file holds; nothing of an empty one.

    Args:
        path: of the file.
        advice: what to do about a damaged one.

    Raises:
        UserError: it can't be read, `check_file` refuses it, or it holds anything but a map.
    """
    check_file(path)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:
        raise _damaged(path, error, advice) from None
    if found is not None and not isinstance(found, dict):
        raise UserError(f"{path}: expected keys with values (got {type(found).__name__}); {advice}")
    return found or {}


def _damaged(path: Path, error: Exception, advice: str) -> UserError:
    return UserError(f"{path}: damaged ({printable(' '.join(str(error).split()))}); {advice}")


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


POINTER = b"version https://git-lfs"


def need_no_pointer(path: Path) -> None:
    """Refuse the few lines that Git LFS leaves in a file's place where it was not asked for the content.

    Raises:
        UserError: naming the file, and how to get it.
    """
    try:
        with path.open("rb") as file:
            found = file.read(len(POINTER)) == POINTER
    except OSError:
        return
    if found:
        raise UserError(
            f"{path}: expected tensors, got a pointer of Git LFS; download the file itself, by `git lfs pull`"
        )
