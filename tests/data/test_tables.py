"""Tables: what is written comes back, whatever the file kind; what can't be read is named."""

import csv
import gzip
import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnamamba import UserError
from dnamamba.data.tables import read_table

CELLS = st.text(alphabet="ACGTN,\t\"' éx;|#\n", max_size=8)


def text_of(rows: list[list[str]], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(CELLS, CELLS).filter(lambda row: any(c.strip() for c in row)), min_size=1, max_size=6
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".csv.gz", ".parquet"]),
    bom=st.booleans(),
)
def test_what_is_written_comes_back(
    tmp_path: Path, rows: list[tuple[str, str]], suffix: str, bom: bool
) -> None:
    """Quotes, delimiters and line ends within cells included; blanks around a cell are not kept."""
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        columns = {"label": [row[1] for row in rows], "sequence": [row[0] for row in rows]}
        pq.write_table(pyarrow.table(columns), path)
    else:
        delimiter = "\t" if ".tsv" in suffix else ","
        text = text_of([["label", "sequence"], *([row[1], row[0]] for row in rows)], delimiter)
        content = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    table = read_table(path, ("sequence", "label"), ("split",))
    assert table.columns == {
        "sequence": [row[0].strip() for row in rows],
        "label": [row[1].strip() for row in rows],
    }
    assert len(table.rows) == len(rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(content=st.binary(max_size=60), name=st.sampled_from(["t.csv", "t.tsv", "t.csv.gz", "t.parquet"]))
def test_any_bytes_are_a_table_or_one_line(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message, table = "", None
    try:
        table = read_table(path, ("a",))
    except UserError as error:
        message = str(error)
    if table is None:
        assert str(path) in message
        assert "\n" not in message
    else:
        assert len(table.columns["a"]) == len(table.rows) > 0


def test_parquet_numbers_are_text_and_null_is_empty(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.pq"
    pq.write_table(pyarrow.table({"label": [1.5, None], "n": [3, 4]}), path)
    table = read_table(path, ("label", "n"))
    assert table.columns == {"label": ["1.5", ""], "n": ["3", "4"]}
    assert table.rows == [1, 2]


def test_line_numbers_count_what_a_text_editor_counts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n\n1,"x\ny"\n\n2,z\n')
    assert read_table(path, ("a", "b")).rows == [4, 6]


def test_a_sequence_longer_than_the_csv_module_likes(tmp_path: Path) -> None:
    path, limit = tmp_path / "t.csv", csv.field_size_limit()
    path.write_text("sequence,label\n" + "ACGT" * 50_000 + ",x\n")
    assert len(read_table(path, ("sequence",)).columns["sequence"][0]) == 200_000
    assert csv.field_size_limit() == limit


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("seq\ty\nACGT\t1\n")
    named = {"sequence": "seq", "label": "y"}
    assert read_table(path, ("sequence", "label"), (), named).columns == {
        "sequence": ["ACGT"],
        "label": ["1"],
    }


@pytest.mark.parametrize(
    ("name", "text", "named", "message"),
    [
        ("t.csv", "", {}, "t.csv is empty"),
        ("t.csv", "sequence,label\n", {}, "t.csv: a header, but no rows"),
        ("t.csv", "seq,label\nA,1\n", {}, "t.csv: no column sequence; its columns are seq, label"),
        ("t.csv", "label,label\nA,1\n", {}, "t.csv: column 'label' is there twice"),
        ("t.csv", "sequence,label\nA,1\nC\n", {}, "t.csv, line 3: 1 column(s), but the header has 2"),
        ("t.csv", 'sequence,label\nA,"1"x\n', {}, "t.csv, line 2: "),
        ("t.ods", "x", {}, "t.ods: a table is known by its suffix, one of .csv"),
        ("t.csv", "s,label\nA,1\n", {"sequence": "seq"}, "t.csv: no column seq; its columns are s, label"),
        ("t.csv", "sequence,label\nA,1\n", {"split": "fold"}, "t.csv: no column fold"),
        ("t.csv", "sequence,label\nA,1\n", {"size": "n"}, "columns.size: no such column is read"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, name: str, text: str, named: dict[str, str], message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_table(path, ("sequence", "label"), ("split",), named)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        read_table(tmp_path / "none.csv", ("a",))
    with pytest.raises(UserError, match=r"^~nobody-of-that-name/none\.csv: no such file"):
        read_table("~nobody-of-that-name/none.csv", ("a",))


EXCEL = "sequence,label,,\nACGT,a,,\n,,,\nGGCC,b,,\n"


def test_empty_spreadsheet_columns_are_not_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for text in (
        EXCEL,
        EXCEL.replace(",,\n", "\n", 1),
        EXCEL.replace("a,,", "a"),
        EXCEL.replace("\n", "\r\n"),
    ):
        path.write_bytes(text.encode())
        table = read_table(path, ("sequence", "label"), ("split",))
        assert table.columns == {"sequence": ["ACGT", "GGCC"], "label": ["a", "b"]}
        assert table.rows == [2, 4]
    path.write_text(",sequence,label\n0,ACGT,a\n1,GGCC,b\n")  # the index that pandas writes
    assert read_table(path, ("sequence", "label")).columns == {
        "sequence": ["ACGT", "GGCC"],
        "label": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence,label,,\nACGT\n", "t.csv, line 2: 1 column(s), but the header has 4"),
        ("sequence,label\nACGT,a,b\n", "t.csv, line 2: 3 column(s), but the header has 2"),
        (",,sequence\n,,ACGT\n", "t.csv: no column label; its columns are sequence"),
    ],
)
def test_columns_that_are_not_empty_are_counted(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError) as error:
        read_table(tmp_path / "t.csv", ("sequence", "label"))
    assert message in str(error.value)


def test_damaged_gzip_is_one_line_or_same_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    whole = gzip.compress(b"sequence,label\n" + b"ACGTTGCA,a\nACCTTGCA,b\n" * 40, mtime=0)
    path.write_bytes(whole)
    intact = read_table(path, ("sequence", "label"))
    refused = 0
    for bit in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert read_table(path, ("sequence", "label")) == intact
        except UserError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
    assert refused > 100


def test_unreadable_parquet_is_named_by_column(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    not_utf_8 = pyarrow.array([b"\xff\xfe"]).view(pyarrow.string())
    far = pyarrow.array([10**7], type=pyarrow.int32()).view(pyarrow.date32())
    far_time = pyarrow.array([2**62], type=pyarrow.int64()).view(pyarrow.timestamp("us"))
    for column, message in (
        (not_utf_8, "column 'label' is not UTF-8 text"),
        (pyarrow.array([b"\xff"]), "column 'label' is not UTF-8 text"),
        (far, r"column 'label' of type date32\[day\] can't be read \(.*\); give it as text"),
        (far_time, r"column 'label' of type timestamp\[us\] can't be read"),
        (pyarrow.array([["a", "b"]]), "column 'label' holds list<.*>; give it as text"),
    ):
        pq.write_table(pyarrow.table({"sequence": ["ACGT"], "label": column}), path)
        with pytest.raises(UserError, match=rf"t\.parquet: {message}") as error:
            read_table(path, ("sequence", "label"))
        assert "\n" not in str(error.value)
        assert read_table(path, ("sequence",)).columns == {"sequence": ["ACGT"]}


def test_parquet_null_is_empty_and_binary_is_text(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    columns = {"sequence": [b"ACGT", b"AC", None], "label": [float("nan"), 1.5, None]}
    pq.write_table(pyarrow.table(columns), path)
    assert read_table(path, ("sequence", "label")).columns == {
        "sequence": ["ACGT", "AC", ""],
        "label": ["", "1.5", ""],
    }


def test_a_table_may_come_by_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(b"a,b\n1,2\n",))
    thread.start()
    assert read_table(path, ("a", "b")).columns == {"a": ["1"], "b": ["2"]}
    thread.join()
    with pytest.raises(UserError, match="is a folder, not a table"):
        read_table(tmp_path, ("a",))
