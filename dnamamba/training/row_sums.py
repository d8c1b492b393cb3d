"""The checksum of metrics.csv's rows at each checkpoint: a resumed run copies no row that was damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dnamamba.documents import read_json
from dnamamba.errors import UserError
from dnamamba.files import replacing

SUMS = "last.ckpt.rows.json"  # next to last.ckpt
UNVALIDATED = "unvalidated"  # a checkpoint whose step's validation comes after it
_ADVICE = "remove it: the rows of metrics.csv are then not verified"


class Kept(NamedTuple):
    """What is kept of a row that was logged.

    Attributes:
        step: under which it was logged.
        validates: whether it is a validation's.
        digest: of its numbers, whatever columns the file has.
    """

    step: float
    validates: bool
    digest: bytes

    @classmethod
    def of(cls, row: Mapping[str, float]) -> Kept:
        """Return it of a row; the file has the shortest text that is read as the same number."""
        text = json.dumps(sorted((name, repr(float(value))) for name, value in row.items()))
        validates = any(name.startswith("val/") for name in row)
        return cls(row["step"], validates, hashlib.sha256(text.encode()).digest())


def remains(row: Kept, steps: int, unvalidated: bool) -> bool:
    """Return whether a run that resumes from a checkpoint keeps a row.

    Args:
        row: of metrics.csv.
        steps: that the checkpoint has done.
        unvalidated: whether the validation after them is done again.
    """
    return row.step < steps and not (unvalidated and row.validates and row.step >= steps - 1)


def note_rows(folder: Path, steps: int, unvalidated: bool, rows: Sequence[Kept]) -> None:
    """Write the checksum of the rows that go with a checkpoint that is about to get its name.

    That of the checkpoint before it stays: a run may be killed between the two names.

    Args:
        folder: of last.ckpt; made where it is not there.
        steps: that the checkpoint has done.
        unvalidated: whether the validation after them comes after it.
        rows: those that remain.
    """
    path, place = folder / SUMS, _Place(steps, not unvalidated)
    found = _read(path) if path.is_file() else {}
    before = max((other for other in found if other < place), default=None)
    sums = {} if before is None else {before: found[before]}
    sums[place] = _Sum.of(rows)
    text = json.dumps({str(other): each._asdict() for other, each in sums.items()})
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def check_rows(checkpoint: Path, steps: int, unvalidated: bool, rows: Sequence[Kept], metrics: Path) -> int:
    """Return how many rows remain, after comparing them with their checksum; version 0.1 has none.

    Args:
        checkpoint: whose folder has the checksums.
        steps: that it has done.
        unvalidated: whether the validation after them is done again: what it logged, in whatever columns,
            follows the rows that remain.
        rows: those of metrics.csv that remain by their steps.
        metrics: the file, for the message.

    Raises:
        UserError: a row is not as it was written.
    """
    path = checkpoint.with_name(SUMS)
    found = _read(path).get(_Place(steps, not unvalidated)) if path.is_file() else None
    if found is None:
        return len(rows)
    number = found.rows if unvalidated else len(rows)
    if _Sum.of(rows[:number]) != found:
        raise UserError(
            f"{metrics}: its first {found.rows:,} rows are not as they were logged (sha256 in {path}); "
            "restore it, or remove it: the curve then begins at the checkpoint"
        )
    return number


class _Place(NamedTuple):
    """Which checkpoint of a run: they come in this order."""

    steps: int
    validated: bool

    def __str__(self) -> str:
        return str(self.steps) if self.validated else f"{self.steps} {UNVALIDATED}"

    @classmethod
    def read(cls, text: str) -> _Place:
        steps, _, word = text.partition(" ")
        if word not in ("", UNVALIDATED):
            raise ValueError(f"expected steps, got {text!r}")
        return cls(int(steps), not word)


class _Sum(NamedTuple):
    """What is written of the rows that go with a checkpoint."""

    rows: int
    sha256: str

    @classmethod
    def of(cls, rows: Sequence[Kept]) -> _Sum:
        return cls(len(rows), hashlib.sha256(b"".join(row.digest for row in rows)).hexdigest())


def _read(path: Path) -> dict[_Place, _Sum]:
    found = read_json(path, _ADVICE)
    try:
        return {
            _Place.read(place): _Sum(int(each["rows"]), str(each["sha256"])) for place, each in found.items()
        }
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error}); {_ADVICE}") from None
