"""Labels as written, to the numbers that a loss takes."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.folders import SPLIT_NAMES
from dnamamba.data.numbers import number_of
from dnamamba.data.partition import SPLITS, Assignment
from dnamamba.errors import UserError

READS = ("class", "labels", "number")
MULTILABEL_SEPARATOR = ";"
_FEW = 8  # labels that may be classes even where each has one sequence or two
_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+")
_MISSING = ("nan", "<na>", "nat", "#n/a")  # of pandas and spreadsheets, in lower case


class Targets(NamedTuple):
    """What is to be learnt.

    Attributes:
        reads: one of `READS`: how a label is written; or `targets`, several (`multi_targets.py`).
        names: of the classes or labels, in the order of their numbers; of the number.
        values: int64 [n] classes; float32 [n, C] labels, 0 or 1; float64 [n, 1] numbers.
    """

    reads: str
    names: tuple[str, ...]
    values: NDArray[Any]

    def counts(self, rows: NDArray[np.bool_]) -> list[int]:
        """Count the sequences of each class or label among some rows; for numbers, all of them."""
        values = self.values[rows]
        if self.reads == "class":
            return np.bincount(values, minlength=len(self.names)).tolist()
        if self.reads == "labels":
            return values.sum(0).astype(int).tolist()
        return [len(values)]

    def identity(self) -> bytes:
        """Return what a resumed run must find again; numbers as float32, as checkpoints had them at first."""
        if self.reads != "number":
            return self.values.tobytes()
        with np.errstate(over="ignore"):
            return self.values.astype(np.float32).tobytes()


def targets_of(
    reads: str,
    labels: Sequence[str],
    sequences: Sequence[str],
    declared: Sequence[str] | None,
    split: Assignment,
) -> Targets:
    """Turn labels into numbers.

    Args:
        reads: one of `READS`, what `dnamamba.heads.base.Head.reads` is.
        labels: as written, one a sequence; of `labels`, any number joined by `;`.
        sequences: names, for messages.
        declared: the labels there are, in the order wanted; None: all that are found, sorted.
        split: of each sequence.

    Raises:
        UserError: an unknown label, a missing one written as NaN, a number written in two ways, one class
            only, a class missing from a split, a target that is not a number.
    """
    if reads not in READS:
        raise UserError(f"data.task: a head must read one of {', '.join(READS)} (got {reads!r})")
    if reads == "number":
        return Targets(reads, ("value",), _numbers(labels, sequences))
    if reads == "labels":
        parts = [[part.strip() for part in label.split(MULTILABEL_SEPARATOR)] for label in labels]
        sets = [[part for part in row if part] for row in parts]
    else:
        sets = [[label] for label in labels]
    names = tuple(map(str, declared)) if declared else tuple(sorted({label for row in sets for label in row}))
    if not declared:
        _check_spelling(names)
        _check_no_splits(names)
        if reads == "class":
            _check_no_names(names, len(labels))
    number = {name: place for place, name in enumerate(names)}
    if len(number) != len(names):
        raise UserError(f"data.label_names has a name twice: {', '.join(names)}")
    for row, sequence in zip(sets, sequences, strict=True):
        for label in row:
            if label not in number:
                raise UserError(
                    f"sequence {sequence}: unknown label {label!r}; the labels are {_shown(names)}"
                )
    if reads == "class":
        values: NDArray[Any] = np.array([number[label] for (label,) in sets], dtype=np.int64)
    else:
        values = np.zeros((len(sets), len(names)), dtype=np.float32)
        for place, chosen in enumerate(sets):
            values[place, [number[label] for label in chosen]] = 1
    targets = Targets(reads, names, values)
    _check_classes(targets, split)
    return targets


def _check_spelling(names: Sequence[str]) -> None:
    """Refuse what is a class by its spelling alone; who means it declares it.

    Raises:
        UserError: NaN, as programs write what is missing; or one number in two ways, such as 1 and 1.0
            or 1,0.
    """
    known: dict[float, str] = {}
    letters: dict[str, str] = {}
    for name in names:
        if name.lower() in _MISSING:
            raise UserError(
                f"label {name!r}: a missing value and not a class; leave its sequences out, or "
                "name all classes in data.label_names"
            )
        other = letters.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise UserError(
                f"labels {other!a} and {name!a}: the same letters, written in two ways of Unicode; write "
                "them in one"
            )
        # One comma is decimal, or groups thousands: of 1,000 both are tried.
        spelled = {name, name.replace(",", ".")} | (
            {name.replace(",", "")} if _THOUSANDS.fullmatch(name) else set()
        )
        for value in {number_of(text) for text in spelled}:
            _check_number(name, value, known)


def _check_number(name: str, value: float, known: dict[float, str]) -> None:
    """Refuse a name whose value another has; see `_check_spelling`."""
    other = name if math.isnan(value) else known.setdefault(value, name)
    # 01 and 1 may be two names; 1.0 and 1e0 are how programs write a number.
    if other != name and re.search("[.,eE]", other + name):
        raise UserError(
            f"labels {other!r} and {name!r}: the same number, written in two ways; write it in one"
        )


def _check_no_splits(found: Sequence[str]) -> None:
    """Refuse what names a split of each sequence: `train.fa` next to `test.fa`, or column 4 of intervals.

    Raises:
        UserError: all names are those of splits, and of two or more.
    """
    splits = {SPLIT_NAMES.get(name.lower()) for name in found}
    if None not in splits and len(splits) > 1:
        raise UserError(
            f"labels {_shown(found)}: expected classes, got names of splits; give a column split, a folder "
            "of classes in each of train/, valid/ and test/, or name them in data.label_names if they are "
            "classes"
        )


def _check_no_names(found: Sequence[str], sequences: int) -> None:
    """Refuse what names each sequence, as column 4 of a narrowPeak does; who means it declares it.

    Raises:
        UserError: there are many labels, and more than half as many as sequences.
    """
    if len(found) > _FEW and 2 * len(found) > sequences:
        raise UserError(
            f"{len(found):,} labels of {sequences:,} sequences ({_shown(found, 2)}): expected classes, got "
            "names; give the column with the classes (data.regions.label of a BED, data.columns.label of a "
            "table), predict a number (of a narrowPeak data.regions.label=7 data.task=regression), or add "
            "sequences of a second class"
        )


def _check_classes(targets: Targets, split: Assignment) -> None:
    if targets.reads == "class" and len(targets.names) < 2:
        raise UserError(
            f"only one class, {_shown(targets.names)}: a classification needs two or more; add sequences of "
            "another, or name the column that has them (data.regions.label of a BED, data.columns.label of a "
            "table)"
        )
    if not targets.names:
        raise UserError("no sequence has a label")
    for number, name in enumerate(SPLITS):
        for label, count in zip(targets.names, targets.counts(split.numbers == number), strict=True):
            if not count:
                shown = ", ".join(
                    f"{other} {targets.counts(split.numbers == place)[targets.names.index(label)]:,}"
                    for place, other in enumerate(SPLITS)
                )
                raise UserError(
                    f"class {label!r} is missing from the {name} split ({shown}; split by {split.how}): "
                    "give every split every class, by a split column, data.valid and data.test, or more data"
                )


def _numbers(labels: Sequence[str], sequences: Sequence[str]) -> NDArray[np.float64]:
    values = np.empty((len(labels), 1), dtype=np.float64)
    bad = []
    for row, label in enumerate(labels):
        values[row] = number_of(label)
        if math.isnan(values[row, 0]):
            bad.append(row)
    if bad:
        first = labels[bad[0]]
        advice = "; write decimals with a point, and thousands without a comma" if "," in first else ""
        advice = "; write thousands without points" if first.count(".") > 1 else advice
        raise UserError(
            f"{len(bad):,} regression target(s) are not finite numbers, the first is {first!r} of "
            f"sequence {sequences[bad[0]]}{advice}"
        )
    return values


def _shown(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
