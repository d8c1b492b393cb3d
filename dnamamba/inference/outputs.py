"""Embeddings as files: NumPy, HDF5, Zarr, Parquet, AnnData, CSV and TSV, each with its regions."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError
from dnamamba.escaping import TsvWriter
from dnamamba.inference.contexts import Table
from dnamamba.optional import need

Info = dict[str, str | int]
_BLOCK = 1 << 14  # rows written at once
_TEXT = 1 << 22  # bytes of text written at once
_WIDE = 256  # characters; wider columns of text are mostly empty, and compressed in .npz


class Result(NamedTuple):
    """What a file holds.

    Attributes:
        values: float32 [rows, D]; may lie on disk.
        table: where each row is from; with `first_row`, where each context is from.
        first_row: int64 [contexts + 1], where rows are bases: of context i, `first_row[i]` up to `[i + 1]`.
        info: how they were made.
    """

    values: NDArray[np.float32]
    table: Table
    first_row: NDArray[np.int64] | None
    info: Info


def check_format(path: Path, pooling: str) -> None:
    """Refuse what can't be written before any work is done.

    Raises:
        UserError: the package that writes the format is not installed, or it can't hold a vector per base.
    """
    package = _PACKAGES[path.suffix]
    if package:
        need(package, "embed", path.name)
    if pooling == "none" and path.suffix in (".parquet", ".h5ad", ".csv", ".tsv"):
        raise UserError(
            f"{path.suffix} holds a vector per region: with pooling=none write .npz, .h5 or .zarr"
        )


def write_result(result: Result, path: Path) -> None:
    """Write a file, or a folder for Zarr, in the format of the suffix of `path`.

    Raises:
        OSError: it can't be written.
    """
    try:
        _WRITERS[path.suffix](result, path)
    except (OSError, RuntimeError) as error:
        # A full disk is one of several types in h5py, and its message has several lines.
        found = re.search(r"errno = (\d+)", str(error))
        number = int(found[1]) if found else getattr(error, "errno", None)
        raise OSError(number, os.strerror(number) if number else str(error).partition("\n")[0]) from error


def _columns(result: Result) -> dict[str, NDArray[np.generic]]:
    columns: dict[str, NDArray[np.generic]] = dict(result.table._asdict())
    if result.first_row is not None:
        columns["first_row"] = result.first_row
    return columns


def _blocks(values: NDArray[np.float32]) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, len(values), _BLOCK))


def _text_blocks(column: NDArray[np.generic]) -> tuple[int, Iterator[tuple[slice, NDArray[np.str_]]]]:
    """Yield the width of NumPy's text for a column of strings, and its parts, of some megabytes each."""
    width = max(1, max(map(len, column.tolist()), default=1))
    rows = max(1, _TEXT // (4 * width))
    parts = (slice(start, start + rows) for start in range(0, len(column), rows))
    return width, ((part, column[part].astype(f"<U{width}")) for part in parts)


def _npz(result: Result, path: Path) -> None:
    """Write as `np.savez` does, but text in parts, and compressed where one name widens all."""
    arrays: dict[str, NDArray[Any]] = {"info": np.array(json.dumps(result.info)), "embeddings": result.values}
    with zipfile.ZipFile(path, "w") as file:
        for name, array in {**arrays, **_columns(result)}.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            if array.dtype != object:
                with file.open(member, "w", force_zip64=True) as to:
                    np.lib.format.write_array(to, array, allow_pickle=False)
                continue
            width, parts = _text_blocks(array)
            if width > _WIDE:
                member.compress_type = zipfile.ZIP_DEFLATED
            with file.open(member, "w", force_zip64=True) as to:
                header = {"descr": f"<U{width}", "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(to, header)
                for _, part in parts:
                    to.write(part.tobytes())


def _h5(result: Result, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs.update(result.info)
        embeddings = file.create_dataset("embeddings", result.values.shape, "f4")
        for rows in _blocks(result.values):
            embeddings[rows] = result.values[rows]
        for name, column in _columns(result).items():
            kind = h5py.string_dtype() if column.dtype == object else None
            file.create_dataset(name, data=column, dtype=kind)


def _zarr(result: Result, path: Path) -> None:
    import zarr

    group = zarr.create_group(path, zarr_format=2, attributes=result.info)
    values = group.create_array(
        "embeddings", shape=result.values.shape, dtype="f4", chunks=(_BLOCK, result.values.shape[1])
    )
    for rows in _blocks(result.values):
        values[rows] = result.values[rows]
    for name, column in _columns(result).items():
        if column.dtype != object:
            group.create_array(name, data=column)
            continue
        width, parts = _text_blocks(column)
        chunk = min(len(column), max(1, _TEXT // (4 * width)))
        text = group.create_array(name, shape=column.shape, dtype=f"<U{width}", chunks=(chunk,))
        for rows, part in parts:
            text[rows] = part
    zarr.consolidate_metadata(group.store)


def _parquet(result: Result, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vector = pa.list_(pa.float32(), result.values.shape[1])
    columns = _columns(result)
    fields = [
        (name, pa.string() if column.dtype == object else pa.int64()) for name, column in columns.items()
    ]
    info = {key: str(value) for key, value in result.info.items()}
    schema = pa.schema([*fields, ("embedding", vector)], metadata=info)
    with pq.ParquetWriter(path, schema) as writer:
        for rows in _blocks(result.values):
            flat = pa.array(np.ascontiguousarray(result.values[rows]).ravel())
            arrays = [pa.array(column[rows]) for column in columns.values()]
            writer.write_table(
                pa.table([*arrays, pa.FixedSizeListArray.from_arrays(flat, type=vector)], schema=schema)
            )


def _h5ad(result: Result, path: Path) -> None:
    import anndata
    import pandas

    regions = pandas.DataFrame(_columns(result))
    places = regions["record"] + ":" + regions["start"].astype(str) + "-" + regions["end"].astype(str)
    regions.index = pandas.Index(_distinct(places.tolist()), dtype=object)
    anndata.AnnData(X=result.values, obs=regions, uns={"dnamamba": result.info}).write_h5ad(path)


def _distinct(names: list[str]) -> list[str]:
    """Return the same names, later ones of a kind numbered: a region may come twice in a BED file."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return result


def _text(result: Result, path: Path) -> None:
    """Write a row per region; the columns e0, e1, ... have the digits that give the same float32 again."""
    columns = _columns(result)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = TsvWriter(file, "," if path.suffix == ".csv" else "\t")
        writer.writerow([*columns, *(f"e{number}" for number in range(result.values.shape[1]))])
        for rows in _blocks(result.values):
            places = zip(*(column[rows].tolist() for column in columns.values()), strict=True)
            for place, vector in zip(places, result.values[rows], strict=True):
                writer.writerow([*place, *map(str, vector)])


_WRITERS: dict[str, Callable[[Result, Path], None]] = {
    ".npz": _npz, ".h5": _h5, ".zarr": _zarr, ".parquet": _parquet, ".h5ad": _h5ad,
    ".csv": _text, ".tsv": _text,
}  # fmt: skip
_PACKAGES = {
    ".npz": None,
    ".csv": None,
    ".tsv": None,
    ".h5": "h5py",
    ".zarr": "zarr",
    ".parquet": "pyarrow",
    ".h5ad": "anndata",
}
SUFFIXES = tuple(_WRITERS)
