"""Predictions as files: a table (TSV, CSV, Parquet), BED, or bigWig of one label's answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.errors import UserError
from dnamamba.escaping import TsvWriter
from dnamamba.heads.base import Head
from dnamamba.inference.bigwig import bigwig
from dnamamba.inference.inputs import Region
from dnamamba.inference.prediction import Predictions
from dnamamba.optional import need

TABLES = (".tsv", ".csv", ".parquet")
BIGWIG = (".bw", ".bigwig", ".bigWig")
SUFFIXES = (*TABLES, ".bed", *BIGWIG)
PLACES = ("record", "start", "end", "strand")


def check_format(path: Path) -> None:
    """Refuse what can't be written before any work is done.

    Raises:
        UserError: the package that writes the format is not installed.
    """
    if path.suffix == ".parquet":
        need("pyarrow", "parquet", path.name)
    if path.suffix in BIGWIG:
        need("pyBigWig", "tracks", path.name)


def table_of(
    found: Predictions, head: Head, *, whole: bool, places: bool, labels: Sequence[str] | None = None
) -> dict[str, list[Any]]:
    """Return the columns of predictions: text, and numbers with all their digits.

    Args:
        found: the predictions.
        head: of the model.
        whole: they are whole records.
        places: write where each lies in a genome.
        labels: as given, of each; None: there are none.
    """
    columns: dict[str, list[Any]] = {"id": [name_of(region, whole) for region in found.regions]}
    if places:
        for key in PLACES:
            columns[key] = [getattr(region, key) for region in found.regions]
    if labels is not None:
        columns["label"] = list(labels)
    cells = [head.cells(row) for row in torch.from_numpy(found.logits)]
    for place, name in enumerate(head.columns()):
        columns[name] = [row[place] for row in cells]
        if name.rpartition(".")[2] != "predicted" or head.reads == "number":
            columns[name] = [float(value) for value in columns[name]]
    return columns


def name_of(region: Region, whole: bool) -> str:
    """Name a row: by its own name, else its record if it is all of it, else its position."""
    return region.name or (region.record if whole else region.where)


def write_table(columns: Mapping[str, Sequence[Any]], path: Path, suffix: str) -> None:
    """Write columns of one length as TSV, CSV or Parquet.

    Args:
        columns: text, whole numbers or floats.
        path: the file.
        suffix: one of `TABLES`.

    Raises:
        OSError: it can't be written.
    """
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(
            pyarrow.table({name: list(values) for name, values in columns.items()}), path
        )
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = TsvWriter(file, "\t" if suffix == ".tsv" else ",")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(map(_text, row))


def _text(value: Any) -> str:
    """Format numbers with the digits that give the same float64 again; nothing where there is none."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def write_bed(found: Predictions, head: Head, path: Path, *, whole: bool) -> None:
    """Write six columns of BED, and after them the columns of the answer.

    The score is 1000 times the largest probability; 0 of a regression, whose number is the seventh column.

    Args:
        found: the predictions.
        head: writes the answers.
        path: the BED.
        whole: whether regions are whole records, named by them.
    """
    most = np.zeros(len(found.regions)) if head.reads in ("number", "targets") else found.values.max(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = TsvWriter(file)
        rows = zip(found.regions, most, torch.from_numpy(found.logits), strict=True)
        for region, score, logits in rows:
            six = (
                region.record,
                region.start,
                region.end,
                name_of(region, whole),
                round(1000 * score),
                region.strand,
            )
            writer.writerow([*six, *head.cells(logits)])


def write_bigwig(
    regions: Sequence[Region],
    values: NDArray[np.float64],
    lengths: Mapping[str, int],
    path: Path,
    *,
    name: Path,
    window: int | None,
    stride: int | None,
) -> None:
    """Write the value of each region over its bases; of windows that overlap, over the middle `stride` bases.

    Args:
        regions: that were read, any order.
        values: float64 [n], of each.
        lengths: bases of each record.
        path: the file.
        name: what it will be called, for messages.
        window, stride: of the windows; None: regions are whole.

    Raises:
        UserError: two regions overlap, or the file can't be written.
    """
    spans = []
    for region, value in zip(regions, values, strict=True):
        start, end = region.start, region.end
        if window is not None and stride is not None and stride < window:
            start += (window - stride) // 2
            end = min(end, start + stride)
        if start < end:
            spans.append((region.record, start, end, float(value)))
    spans.sort()
    for one, other in pairwise(spans):
        if one[0] == other[0] and other[1] < one[2]:
            raise UserError(
                f"regions overlap, and a bigWig holds one value per base: {one[:3]} and {other[:3]}"
            )
    used = {record: lengths[record] for record, *_ in spans}
    with bigwig(path, used, name) as writer:
        for record, start, end, value in _joined(spans):
            writer.add(record, start, np.full(end - start, value, dtype=np.float32))


def _joined(spans: Iterable[tuple[str, int, int, float]]) -> Iterator[tuple[str, int, int, float]]:
    """Join neighbours of one value, as a bigWig holds it, in float32."""
    waiting = None
    for record, start, end, value in spans:
        if waiting is not None:
            if (record, start, np.float32(value)) == (waiting[0], waiting[2], np.float32(waiting[3])):
                start = waiting[1]
            else:
                yield waiting
        waiting = record, start, end, value
    if waiting is not None:
        yield waiting
