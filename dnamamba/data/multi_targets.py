"""Several columns of labels to numbers: one target per column, each of its own kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.numbers import number_of
from dnamamba.data.partition import Assignment
from dnamamba.data.target_cells import READ_AS
from dnamamba.data.targets import Targets, targets_of
from dnamamba.errors import UserError


class MultiTargets(NamedTuple):
    """What is to be learnt.

    Attributes:
        targets: float64 [n, T], the number of a class or a number, NaN of a missing one; named by logit.
        tasks: of each column its `name`, `kind`, number of logits (`labels`), `shift` and `scale`.
    """

    targets: Targets
    tasks: list[dict[str, Any]]


def multi_targets(
    kinds: Mapping[str, str],
    labels: Sequence[str],
    sequences: Sequence[str],
    split: Assignment,
    unit: Any,
) -> MultiTargets:
    """Turn joined labels into numbers.

    Args:
        kinds: of each column.
        labels: of each sequence, as `joined_cells` makes them.
        sequences: names, for messages.
        split: of each sequence.
        unit: a regression's shift and scale of training targets, float64 [n, 1].

    Raises:
        UserError: a target can't be read or learnt; the message names its column.
    """
    columns = list(zip(*(label.split(";") for label in labels), strict=True))
    values = np.full((len(labels), len(kinds)), math.nan)
    names: list[str] = []
    tasks: list[dict[str, Any]] = []
    for place, (name, kind) in enumerate(kinds.items()):
        there = np.array([bool(cell) for cell in columns[place]])
        own = split._replace(numbers=split.numbers[there])
        cells = [cell for cell in columns[place] if cell]
        who = [sequence for sequence, has in zip(sequences, there.tolist(), strict=True) if has]
        try:
            if not any(own.numbers == 0):
                raise UserError("no training sequence has it")
            found = targets_of(READ_AS[kind], cells, who, None, own)
            shift, scale = (0.0, 1.0) if kind != "regression" else unit(found.values[own.numbers == 0])
        except UserError as error:
            raise UserError(f"data.targets.{name}: {error}") from None
        values[there, place] = found.values.reshape(len(cells), -1)[:, 0]
        names += [name] if kind == "regression" else [f"{name}={label}" for label in found.names]
        size = 1 if kind == "regression" else len(found.names)
        tasks.append({"name": name, "kind": kind, "labels": size, "shift": shift, "scale": scale})
    return MultiTargets(Targets("targets", tuple(names), values), tasks)


def parsed(label: str, tasks: Sequence[Mapping[str, Any]], names: Sequence[str], where: str) -> list[float]:
    """Return the numbers of one joined label, NaN of a missing target.

    Args:
        label: as `joined_cells` makes it.
        tasks: of the model.
        names: of its logits.
        where: the sequence is, for messages.

    Raises:
        UserError: an unknown class, or what is not a number.
    """
    values: list[float] = []
    start = 0
    for task, cell in zip(tasks, label.split(";") if label else [""] * len(tasks), strict=True):
        own = [name.removeprefix(f"{task['name']}=") for name in names[start : start + task["labels"]]]
        start += task["labels"]
        if not cell:
            values.append(math.nan)
        elif task["kind"] == "regression":
            values.append(finite_number(cell, f"{where}: {task['name']} is"))
        elif cell in own:
            values.append(float(own.index(cell)))
        else:
            raise UserError(f"{where}: {task['name']} is a {cell!r}; the model's are {', '.join(own[:8])}")
    return values


def finite_number(text: str, said: str) -> float:
    """Return the number that a text is.

    Args:
        text: of a cell.
        said: how the message begins, with what holds it and a verb.

    Raises:
        UserError: it is not a finite number.
    """
    value = number_of(text)
    if math.isnan(value):
        raise UserError(f"{said} {text!r}, which is not a finite number")
    return value


def missing(values: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """Return a line on the sequences that lack each target.

    Args:
        values: float64 [n, T].
        names: of the targets.
    """
    counts = np.isnan(values).sum(0).tolist()
    return [f"{count:,} sequences have no {name}" for name, count in zip(names, counts, strict=True) if count]
