"""Tables that are fuzzed: text, workbooks and Parquet, with the reading of Python's own csv as truth."""

from __future__ import annotations

import csv
import io
import random
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from dnamamba import UserError, get_alphabet
from dnamamba.data.examples import Collector, from_table
from dnamamba.data.tables import read_table
from tests.robustness.fuzzing import Unreadable, mutated

DNA = get_alphabet("dna")
MARK = b"\xef\xbb\xbf"
CELLS = b'sequence,label,split\nACGT,a,train\nGGCC,"b\nc",test\nTTTT,1.0,valid\nNNAC,x y,train\n'
EXCEL = MARK + b"sequence,label,,\r\nACGT,a,,\r\nGGCC,b,,\r\n"


def read_cells(path: Path) -> dict[str, list[str]]:
    """Columns of a table; all that fine-tuning makes of it as well."""
    into = Collector(DNA)
    try:
        from_table(path, {}, into)
        into.examples()
    except UserError as error:
        if path.name in str(error) and "with no label" not in str(error):
            raise
    return read_table(path, ("sequence", "label"), ("split",)).columns


def cells_truth(own: str) -> Any:
    """Python's own reading, blank rows left out; None with semicolons, where `1,5` may be 1.5."""

    def truth(data: bytes) -> dict[str, list[str]] | None:
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16") if utf16 else data.removeprefix(MARK).decode()
        for delimiter in dict.fromkeys((own, ",", ";", "\t")):
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
            rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
            places = {name: _place(rows[0], name) for name in ("sequence", "label", "split")}
            if places["sequence"] is not None and places["label"] is not None:
                if delimiter == ";":
                    return None
                return {name: [row[at] for row in rows[1:]] for name, at in places.items() if at is not None}
        raise Unreadable("no delimiter shows the columns")

    return truth


def _place(header: list[str], name: str) -> int | None:
    """Where a column is, by its name or the only one that differs in case."""
    if name in header:
        return header.index(name)
    alike = [place for place, other in enumerate(header) if other.lower() == name]
    return alike[0] if len(alike) == 1 else None


def workbook() -> bytes:
    """The same cells as Excel saves them, with a number and a date."""
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["sequence", "label", "split"], ["ACGT", 1.0, "train"], ["GG", datetime(2024, 1, 2), "test"]):
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def change_workbook(data: bytes, rng: random.Random) -> bytes:
    """Change one of the parts, or the archive."""
    if rng.random() < 0.3:
        return mutated(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    chosen = rng.choice(sorted(parts))
    parts[chosen] = mutated(parts[chosen], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as changed:
        for name, part in parts.items():
            changed.writestr(name, part)
    return out.getvalue()


def parquet_seeds() -> Iterator[bytes]:
    """Text, dictionary-encoded text, numbers with NaN, dates and bytes, in pages with checksums."""
    text = ["ACGT", "GGCC", "TTTT", "ACCA"]
    for labels in (
        ["a", "b", None, "a"],
        pyarrow.array([1.0, float("nan"), 2.0, 1.0]),
        pyarrow.array([0, 1, 2, 3], type=pyarrow.date32()),
        pyarrow.array([b"a", b"b", b"a", b"b"]),
        pyarrow.array(["x", "y", "x", "y"]).dictionary_encode(),
    ):
        for codec in ("none", "snappy"):
            out = io.BytesIO()
            table = pyarrow.table(
                {"sequence": text, "label": labels, "split": ["train", "valid", "test", ""]}
            )
            pyarrow.parquet.write_table(table, out, compression=codec, write_page_checksum=True)
            yield out.getvalue()
