"""Tables as Excel writes them in several countries: read as what they are, and said."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnamamba import LabelledConfig, UserError
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.examples import Collector
from dnamamba.data.tables import read_table

WANTED = {"sequence": ["ACGT", "GGC"], "label": ["leaf", "root; x"]}
ROWS = [["Sequence", "id", "LABEL"], ["ACGT", "a", "leaf"], ["GGC", "b", "root; x"]]


def text(delimiter: str, end: str = "\r\n") -> str:
    return "".join(delimiter.join(f'"{cell}"' if ";" in cell else cell for cell in row) + end for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", lambda: text(";").encode("utf-8-sig"), "separated by semicolons"),
        ("t.csv", lambda: text("\t").encode(), "separated by tabs"),
        ("t.tsv", lambda: text(",").encode(), "separated by commas"),
        ("t.txt", lambda: text("\t").encode("utf-16"), ""),
        ("t.csv", lambda: b"\xfe\xff" + text(";").encode("utf-16-be"), "separated by semicolons"),
        ("t.csv.gz", lambda: gzip.compress(("\r\n" + text(";")).encode()), "separated by semicolons"),
    ],
)
def test_table_of_another_dialect_is_read_and_said(
    tmp_path: Path, name: str, content: Callable[[], bytes], said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    table = read_table(path, ("sequence", "label"), ("split",))
    assert table.columns == WANTED
    assert f"{path}: columns read whatever their case: Sequence, LABEL" in table.notes
    assert said in table.notes[0]
    assert len(table.notes) == 1 + bool(said)


def test_decimal_comma_is_point_where_semicolons_separate(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sequence;label\nAC;0,5\nGT;-12\nCC;1,25e-3\nAA;\n")
    table = read_table(path, ("sequence", "label"))
    assert table.columns["label"] == ["0.5", "-12", "1.25e-3", ""]
    assert table.notes[1] == f"{path}: the commas of column label are decimal commas"
    path.write_text("sequence;label\nAC;0,5\nGT;x,y\n")
    assert read_table(path, ("sequence", "label")).columns["label"] == ["0,5", "x,y"]


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["1,379", "12,5", ""], ["1.379", "12.5", ""]),
        (["0,912", "1,379"], ["0.912", "1.379"]),
        (["1,379", "-12,500", "3"], ["1,379", "-12,500", "3"]),  # of thousands, perhaps
        (["1,379", "1.5"], ["1,379", "1.5"]),
    ],
)
def test_comma_elsewhere_is_decimal_where_it_cannot_be_of_thousands(
    tmp_path: Path, cells: list[str], read: list[str]
) -> None:
    path = tmp_path / "t.txt"
    rows = "".join(f"1,5\tAC\t{cell}\n" for cell in cells)
    path.write_text(f"id\tsequence\tlabel\n{rows}", encoding="utf-16")
    columns = read_table(path, ("id", "sequence", "label")).columns
    assert columns["label"] == read
    assert columns["id"] == ["1,5"] * len(cells)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["10.000", "950", "-1.250", ""], "10.000 is 10; write thousands without a point"),
        (["1.5", "10.000"], ""),
        (["0.500", "1.250"], ""),
        (["950", "1250"], ""),
        (["leaf", "1.250"], ""),
    ],
)
def test_point_that_may_group_thousands_is_said(tmp_path: Path, cells: list[str], said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,sequence,label\n" + "".join(f"1.000,AC,{cell}\n" for cell in cells))
    table = read_table(path, ("id", "sequence", "label"))
    assert table.columns["label"] == cells
    start = f"{path}: the points of column label are decimal points, "
    assert list(table.notes) == ([start + said] if said else [])


def test_exact_name_of_column_comes_before_its_case(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Label,label,LABEL,Seq,SEQ\n1,2,3,A,C\n")
    table = read_table(tmp_path / "t.csv", ("label",), named={"label": "label"})
    assert table.columns == {"label": ["2"]}
    assert table.notes == ()
    with pytest.raises(UserError, match="no column seq; its columns are Label, label, LABEL, Seq, SEQ"):
        read_table(tmp_path / "t.csv", ("seq",))


def test_utf_16_cut_within_letter_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text(",").encode("utf-16")[:-1])
    with pytest.raises(UserError, match=r"t\.csv is (truncated|not UTF-8 text)"):
        read_table(path, ("sequence", "label"))


def test_a_workbook_is_read_by_its_first_sheet(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "data"
    for row in ([], ["Sequence", "label", None], ["ACGT", 1.5], [], ["GG", 2.0], ["TT", 3], ["CC", None]):
        sheet.append(row)
    book.create_sheet("notes").append(["x"])
    path = tmp_path / "t.xlsx"
    book.save(path)
    table = read_table(path, ("sequence", "label"))
    assert table.columns == {"sequence": ["ACGT", "GG", "TT", "CC"], "label": ["1.5", "2", "3", ""]}
    assert table.rows == [3, 5, 6, 7]
    assert table.notes[0] == f"{path}: the first of 2 sheets is read, data"
    sheet.cell(row=5, column=5, value="stray")
    book.save(path)
    with pytest.raises(UserError, match=r"t\.xlsx, row 5: a cell to the right of the header's columns"):
        read_table(path, ("sequence", "label"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"t\.xlsx is damaged or not an Excel workbook") as error:
        read_table(path, ("sequence", "label"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cells", [["1,2", "1,3", "10,5"], ["0,5", "1,5"], ["1.500", "2.500"]])
@pytest.mark.parametrize("key", ["table", "labels"])
def test_classes_of_digits_and_commas_keep_names(tmp_path: Path, key: str, cells: list[str]) -> None:
    """`1,2` may be a class for two haplogroups; only numbers have decimal commas."""
    path, fasta = tmp_path / "t.csv", tmp_path / "g.fa"
    path.write_text("id;sequence;label\n" + "".join(f"r{i};AC;{cell}\n" for i, cell in enumerate(cells)))
    fasta.write_text("".join(f">r{i}\nAC\n" for i in range(len(cells))))
    source: dict[str, Any] = {key: str(path)} | ({"fasta": str(fasta)} if key == "labels" else {})
    for task, expected in (
        ("classification", cells),
        ("multilabel", cells),
        ("regression", [cell.replace(",", ".") for cell in cells]),
    ):
        into = Collector(get_alphabet("dna"))
        LabelledConfig(**source, task=task).collect(into)
        assert into.labels == expected
        assert any("decimal" in note for note in into.notes) == (task == "regression")
