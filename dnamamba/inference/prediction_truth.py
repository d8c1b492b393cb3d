"""Labels of sequences that a fine-tuned model is asked about, and how well it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnamamba.data.alphabet import Alphabet
from dnamamba.data.examples import Collector
from dnamamba.data.multi_targets import finite_number, parsed
from dnamamba.data.tables import Table, read_table
from dnamamba.data.target_cells import joined_cells
from dnamamba.data.targets import MULTILABEL_SEPARATOR
from dnamamba.errors import UserError
from dnamamba.heads.base import Head, named
from dnamamba.inference.inputs import Inputs, Region


def table_inputs(
    path: str | Path, columns: dict[str, str], alphabet: Alphabet, head: Head | None = None
) -> Inputs:
    """Return the sequences of a table, with their labels where it has some.

    Args:
        path: CSV, TSV, Excel or Parquet.
        columns: what `sequence`, `id` and `label` are called in it, where it is something else.
        alphabet: the model's.
        head: of the model; several targets are columns of their own.

    Raises:
        UserError: the table or a sequence can't be read.
    """
    own = _own_columns(head)
    table = read_table(path, ("sequence",), ("id", *own), columns, _texts(head))
    labels = table.columns.get("label")
    if head is not None and head.reads == "targets":
        labels = _joined(table, own, path) if all(name in table.columns for name in own) else None
    into = Collector(alphabet)
    names = table.columns.get("id") or [f"line_{line}" for line in table.rows]
    for name, line, sequence in zip(names, table.rows, table.columns["sequence"], strict=True):
        where = f"{path}, line {line}"
        try:
            letters = np.frombuffer(sequence.encode("latin-1"), dtype=np.uint8)
        except UnicodeEncodeError as error:
            raise UserError(f"{where}: {sequence[error.start]!r} is not a base") from None
        into.add(letters, name, where, None)
    examples = into.examples(needs_label=False)
    ids = {str(row): examples[row] for row in range(len(examples))}
    regions = [Region(key, 0, row.size, name) for (key, row), name in zip(ids.items(), names, strict=True)]
    return Inputs(regions, ids, alphabet, table.notes, labels)


def table_labels(
    path: str | Path,
    regions: Sequence[Region],
    columns: dict[str, str],
    bed: str | None = None,
    head: Head | None = None,
) -> tuple[list[str | None], list[str]]:
    """Return the label of each record or region by a table of `id` and `label`, and notes on how it was read.

    Args:
        path: CSV, TSV, Excel or Parquet.
        regions: whole records, or regions of `bed`, which may lack a label.
        columns: what `id` and `label` are called in it, where it is something else.
        bed: the file of the regions; None: they are records.
        head: of the model; several targets are columns of their own, in the place of `label`.

    Raises:
        UserError: the table can't be read, names an id twice, lacks a record, or has no region at all.
    """
    own = _own_columns(head)
    table = read_table(path, ("id", *own), (), columns, _texts(head))
    labels = (
        _joined(table, own, path) if head is not None and head.reads == "targets" else table.columns["label"]
    )
    label_of: dict[str, str] = {}
    for name, label, line in zip(table.columns["id"], labels, table.rows, strict=True):
        if name in label_of:
            raise UserError(f"{path}, line {line}: id {name!r} is there twice")
        label_of[name] = label
    names = [region.name or region.record for region in regions]
    lacking = [name for name in names if name not in label_of]
    notes = list(table.notes)
    if bed is not None and len(lacking) == len(names):
        raise UserError(
            f"labels: no id of {path} names a region (got {next(iter(label_of), 'none')!r}, and "
            f"{names[0]!r} in {bed}); set regions.name to the attribute or column that has the ids"
        )
    if lacking and bed is None:
        raise UserError(f"{path}: {len(lacking):,} sequence(s) have no label, the first is {lacking[0]!r}")
    if lacking:
        notes.append(
            f"{len(lacking):,} regions without a label in {path}, not judged: the first is {lacking[0]!r}"
        )
    return [label_of.get(name) for name in names], notes


def _own_columns(head: Head | None) -> tuple[str, ...]:
    """Return the columns that hold the labels of a model: one, or that of each of several targets."""
    if head is None or head.reads != "targets":
        return ("label",)
    return tuple(task["name"] for task in head.decoder.tasks or ())


def _texts(head: Head | None) -> tuple[str, ...]:
    """Return those of them that hold names, and no numbers."""
    if head is None or head.reads == "number":
        return ()
    if head.reads != "targets":
        return ("label",)
    return tuple(task["name"] for task in head.decoder.tasks or () if task["kind"] != "regression")


def _joined(table: Table, own: tuple[str, ...], path: str | Path) -> list[str]:
    """Return the cells of several targets as one label per row."""
    rows = zip(*(table.columns[name] for name in own), strict=True)
    return [
        joined_cells(dict(zip(own, row, strict=True)), dict.fromkeys(own, ""), f"{path}, line {line}")
        for row, line in zip(rows, table.rows, strict=True)
    ]


def targets(head: Head, labels: Sequence[str | None], names: Sequence[str]) -> Tensor:
    """Return labels as the head's metrics take them: [n] or [n, C] of its `dtype`.

    Args:
        head: of the model.
        labels: as written, one per sequence; of `labels`, any number joined by `;`.
        names: of the sequences, for messages.

    Raises:
        UserError: a label is missing, unknown to the model, or not a number where it should be one.
    """
    number = {label: place for place, label in enumerate(head.labels)}
    rows: list[Any] = []
    for label, name in zip(labels, names, strict=True):
        text = (label or "").strip()
        if not text and head.reads != "labels":
            raise UserError(
                f"evaluate: sequence {name} has no label; give all of them one, or evaluate=false"
            )
        if head.reads == "targets":
            assert head.decoder.tasks is not None
            rows.append(parsed(text, head.decoder.tasks, head.labels, f"evaluate: sequence {name}"))
            continue
        if head.reads == "number":
            rows.append([finite_number(text, f"evaluate: sequence {name} has the label")])
            continue
        parts = (
            [part.strip() for part in text.split(MULTILABEL_SEPARATOR)] if head.reads == "labels" else [text]
        )
        unknown = [part for part in parts if part and part not in number]
        if unknown:
            raise UserError(
                f"evaluate: sequence {name} is a {unknown[0]!r}; the model's labels are {named(head.labels)}"
            )
        places = [number[part] for part in parts if part]
        rows.append(places[0] if head.reads == "class" else [float(i in places) for i in range(len(number))])
    return torch.tensor(rows, dtype=head.dtype)
