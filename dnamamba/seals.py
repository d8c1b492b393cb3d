"""A run's results with the SHA-256 of themselves and of the files next to them, verified when they are read.

A digit of a text that has become another can't be seen otherwise.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from dnamamba.documents import read_json
from dnamamba.errors import UserError
from dnamamba.files import replacing, sha256_of

SEAL = "sha256"
_SUFFIXES = (".csv", ".png", ".tsv", ".yaml")


def write_results(path: Path, results: dict[str, Any], *, alone: bool = False) -> None:
    """Write results as JSON, and put under `sha256` the checksums of these and of the tables next to them.

    Args:
        path: of the JSON file, the last that a run writes.
        results: gets the key `sha256`.
        alone: without the checksums of other files.
    """
    found = () if alone else path.parent.iterdir()
    files = sorted(each for each in found if each.suffix in _SUFFIXES and each.is_file())
    results |= _finite(results)
    results[SEAL] = {each.name: sha256_of(each) for each in files}
    results[SEAL][path.name] = _of_results(results, path.name)
    with replacing(path) as beside:
        beside.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_results(path: Path, advice: str, files: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read results, and verify them and files next to them; those of version 0.1 have no checksums.

    Args:
        path: of the JSON file.
        advice: what to do about a damaged one.
        files: names of those that are read with it.

    Raises:
        UserError: naming the file that is not as it was written.
    """
    results = read_json(path, advice)
    if SEAL not in results:
        return results
    seal = results[SEAL]
    if not isinstance(seal, dict) or seal.get(path.name) != _of_results(results, path.name):
        raise UserError(f"{path}: its {SEAL} is not that of its values, so that it is damaged; {advice}")
    for name in files:
        other = path.with_name(name)
        if name in seal and other.is_file() and seal[name] != sha256_of(other):
            raise UserError(
                f"{other}: its {SEAL} is not the one in {path.name}: it is damaged, or was changed after the "
                f"run; restore it, or remove {SEAL} from {path.name}"
            )
    return results


def write_table(path: Path, text: str) -> None:
    """Write a table, and its SHA-256 into a file next to it, in the form that `sha256sum -c` reads.

    The checksum comes first: who is killed between the two leaves a table that is seen to be an older one.

    Args:
        path: of the table.
        text: all of it.
    """
    data = text.encode()
    with replacing(_sum_of(path)) as beside:
        beside.write_text(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n", encoding="utf-8")
    with replacing(path) as beside:
        beside.write_bytes(data)


def is_table(path: Path) -> bool:
    """Return whether a table is as `write_table` wrote it, or has no checksum next to it."""
    try:
        expected = _sum_of(path).read_bytes().split()[:1]
    except OSError:
        return True
    return expected == [sha256_of(path).encode()]


def need_table(path: Path) -> None:
    """Refuse a table that is not as `write_table` wrote it; one without a checksum, as a user's own, passes.

    Raises:
        UserError: naming the file.
    """
    if path.is_file() and not is_table(path):
        sums = _sum_of(path).name
        raise UserError(
            f"{path}: its SHA-256 is not the one in {sums}: it is damaged, or was changed since; "
            f"write it anew, or remove {sums}"
        )


def _sum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _finite(value: Any) -> Any:
    """Return the same with null for numbers that JSON has no words for."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _of_results(results: dict[str, Any], name: str) -> str:
    """Return the checksum of what a reader of the JSON finds, where all keys are text.

    The other files' checksums are part of it, so that one which is removed or changed is seen.

    Args:
        results: with `sha256`.
        name: of the JSON file, whose own checksum is left out.
    """
    others = {key: value for key, value in results[SEAL].items() if key != name}
    found = json.loads(json.dumps(results | {SEAL: others}))
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
