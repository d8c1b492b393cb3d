"""JSON and YAML that a run or a user left: read within bounds, or one line on what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
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
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); {advice}") from None
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error, advice) from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a JSON object (got {type(found).__name__}); {advice}")
    return found


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these keys and values: an `object_pairs_hook`, where JSON takes the last of two.

    Raises:
        ValueError: a key is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
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
        UserError: it is too large, not UTF-8, nested too deeply, its aliases expand without end, or a key is
            there twice, of which YAML's readers take the last.
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
        _check_events(_keys_once(yaml.parse(text, Loader=yaml.SafeLoader), path), path)
    except yaml.YAMLError:
        return


class _Map:
    """A map that is being read: the lines of its keys, and whether a key is next."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.at_key = True


def _keys_once(events: Iterable[yaml.Event], path: Path) -> Iterator[yaml.Event]:
    """Yield the same; refuse a key that a map has twice. `1` and `"1"` are one name here, as everywhere."""
    around: list[_Map | None] = []  # None of a list
    for event in events:
        inner = around[-1] if around else None
        if inner is not None and isinstance(event, yaml.NodeEvent):
            if inner.at_key and isinstance(event, yaml.ScalarEvent):
                line = event.start_mark.line + 1
                if event.value in inner.lines:
                    raise UserError(
                        f"{path}, line {line}: {printable(event.value)} is there twice, first in line "
                        f"{inner.lines[event.value]}; keep one"
                    )
                inner.lines[event.value] = line
            inner.at_key = not inner.at_key
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Map() if isinstance(event, yaml.MappingStartEvent) else None)
        elif isinstance(event, yaml.CollectionEndEvent):
            around.pop()
        yield event


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
