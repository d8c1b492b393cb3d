"""Lines without end: refused where they pass a bound, whatever a small gzip file expands to."""

import gzip
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnamamba import Genome, UserError, get_alphabet
from dnamamba.data import parquet, spreadsheets, tables, text_lines, variants
from dnamamba.data.intervals import bed_rows
from dnamamba.data.tables import read_table
from dnamamba.data.variants import Vcf

BOUND = 1 << 12
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def table(path: Path) -> Any:
    return read_table(path, ("sequence", "label")).columns["label"]


def vcf(path: Path) -> Any:
    return [row.ref for row in Vcf(path).rows()]


def bed(path: Path) -> Any:
    return [row.others for row in bed_rows(path)]


# A file whose line of `n` letters is the longest, and what is read of it.
LINES: dict[str, tuple[str, Callable[[Path], Any], Callable[[int], str], Callable[[int], Any]]] = {
    "cell": ("t.csv.gz", table, lambda n: f"sequence,label\nA,{'x' * (n - 3)}\n", lambda n: ["x" * (n - 3)]),
    "commas": ("t.tsv.gz", table, lambda n: f"sequence\tlabel\nA\tx{' ' * (n - 4)}\n", lambda n: ["x"]),
    "header": ("t.csv", table, lambda n: f"sequence,label{' ' * (n - 15)}\nA,x\n", lambda n: ["x"]),
    "allele": (
        "v.vcf.gz",
        vcf,
        lambda n: f"{VCF}a\t1\t.\t{'A' * (n - 15)}\tC\t.\t.\t.\n",
        lambda n: ["A" * (n - 15)],
    ),
    "bed": ("b.bed.gz", bed, lambda n: f"a\t0\t4\t{'x' * (n - 7)}\n", lambda n: [("x" * (n - 7),)]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tables, variants, text_lines):
        monkeypatch.setattr(module, "LONGEST_LINE", BOUND)


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("kind", LINES)
def test_line_over_the_bound_is_refused(kind: str, tmp_path: Path) -> None:
    name, read, text, expected = LINES[kind]
    assert read(write(tmp_path / name, text(BOUND))) == expected(BOUND)
    with pytest.raises(UserError, match=rf"{name}, (line|row) \d: more than 4,096 (characters|bytes)"):
        read(write(tmp_path / name, text(BOUND + 1)))


@pytest.mark.parametrize("kind", LINES)
def test_a_line_without_end_takes_little_memory(kind: str, tmp_path: Path) -> None:
    name, read, text, _ = LINES[kind]
    path = write(tmp_path / name, text(30_000_000))
    tracemalloc.start()
    with pytest.raises(UserError):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_header_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many bytes, or of many short lines, which take more memory than their bytes."""
    path = write(tmp_path / "v.vcf.gz", VCF.replace("#CHROM", "##x=1\n" * 1000 + "#CHROM"))
    with pytest.raises(UserError, match=r"v\.vcf\.gz: a header of more than 4,096 bytes"):
        Vcf(path)
    monkeypatch.setattr(variants, "HEADER_LINES", 5)
    Vcf(write(tmp_path / "v.vcf", VCF.replace("#CHROM", "##x\n" * 3 + "#CHROM")))
    with pytest.raises(UserError, match=r"w\.vcf: a header of more than 4,096 bytes or 5 lines"):
        Vcf(write(tmp_path / "w.vcf", VCF.replace("#CHROM", "##x\n" * 4 + "#CHROM")))


@pytest.mark.parametrize("before", ["", ">a\nACGT\n"])
def test_a_fasta_header_without_end_is_refused(before: str, tmp_path: Path) -> None:
    path = write(tmp_path / "g.fa.gz", f"{before}>{'n' * 3_000_000}\nACGT\n")
    with pytest.raises(UserError, match=r"line \d: a header or comment of more than 1,048,576 bytes"):
        Genome(path, get_alphabet("dna")).lengths  # noqa: B018


def test_columns_that_nobody_wants_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    wide = ",".join(f"c{i}" for i in range(200))
    path.write_text(f"sequence,{wide},label\n" + f"ACGT,{','.join(['12345678'] * 200)},a\n" * 2000)
    tracemalloc.start()
    found = read_table(path, ("sequence", "label"))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert found.columns == {"sequence": ["ACGT"] * 2000, "label": ["a"] * 2000}
    assert kept < os.path.getsize(path) / 4


def workbook(path: Path, sheet: str) -> Path:
    """A workbook of one sheet, whose rows are XML."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["sequence", "label"])
    book.save(path)
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    place = "xl/worksheets/sheet1.xml"
    begin, end = parts[place].split(b"<sheetData>")[0], parts[place].rpartition(b"</sheetData>")[2]
    begin = begin.replace(b'<dimension ref="A1:B1"', b'<dimension ref="A1:XFD1048576"')
    parts[place] = begin + f"<sheetData>{sheet}</sheetData>".encode() + end
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as changed:
        for name, data in parts.items():
            changed.writestr(name, data)
    return path


def row(number: int, *cells: tuple[str, str]) -> str:
    inner = "".join(f'<c r="{at}{number}" t="inlineStr"><is><t>{text}</t></is></c>' for at, text in cells)
    return f'<row r="{number}">{inner}</row>'


def test_cell_at_sheet_end_does_not_fill_it(tmp_path: Path) -> None:
    rows = row(1, ("A", "sequence"), ("B", "label")) + row(2, ("A", "ACGT"), ("B", "a"))
    far = rows + row(1_048_576, ("A", "GG"), ("B", "b"))
    found = read_table(workbook(tmp_path / "t.xlsx", far), ("sequence", "label"))
    assert (found.columns["sequence"], found.rows) == (["ACGT", "GG"], [2, 1_048_576])
    wide = rows + row(1_048_576, ("XFD", "x"))
    with pytest.raises(UserError, match=r"row 1048576: a cell to the right of the header"):
        read_table(workbook(tmp_path / "t.xlsx", wide), ("sequence", "label"))


def test_a_workbook_that_expands_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreadsheets, "LARGEST", 1 << 20)
    path = workbook(tmp_path / "t.xlsx", row(1, ("A", "sequence"), ("B", "x" * (1 << 20))))
    assert os.path.getsize(path) < 20_000
    with pytest.raises(UserError, match=r"t\.xlsx: expands to 1,\d+,\d+ bytes, of at most 1,048,576"):
        read_table(path, ("sequence", "label"))


def test_parquet_holds_a_repeated_text_once(tmp_path: Path) -> None:
    """A file of kilobytes whose rows would be 40 GB: letters of a megabyte, 40,000 times."""
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    indices = pyarrow.array([0, None, *[1] * 40_000], type=pyarrow.int32())
    texts = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array([" a ", "A" * 1_000_000]))
    pq.write_table(pyarrow.table({"sequence": texts, "label": ["x"] * len(indices)}), path)
    assert path.stat().st_size < 1_100_000
    tracemalloc.start()
    found = read_table(path, ("sequence", "label")).columns["sequence"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[:3] == ["a", "", "A" * 1_000_000]
    assert {id(text) for text in found[2:]} == {id(found[2])}
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ("LONGEST_CELL", r"column 'sequence': has a cell of 9 characters, of at most 3; give such"),
        ("MOST_ROWS", r"has 4 rows, of at most 3; give it in parts"),
    ],
)
def test_parquet_beyond_a_bound_is_refused(
    bound: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    monkeypatch.setattr(parquet, bound, 3)
    pq.write_table(pyarrow.table({"sequence": ["ACGTACGTA", "", "", ""], "label": [1, 2, 3, 4]}), path)
    with pytest.raises(UserError, match=rf"t\.parquet: {said}"):
        read_table(path, ("sequence", "label"))
