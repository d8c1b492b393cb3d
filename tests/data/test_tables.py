"""Tables: what is written comes back, whatever the file kind; what can't be read is named."""

import csv
import gzip
import io
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
def test_no_bytes_end_in_anything_but_a_table_or_one_line(tmp_path: Path, content: bytes, name: str) -> None:
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


def test_numbers_of_parquet_are_text_and_nothing_is_empty(tmp_path: Path) -> None:
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
        ("t.xlsx", "x", {}, "t.xlsx: a table is known by its suffix, one of .csv"),
        ("t.csv", "s,label\nA,1\n", {"sequence": "seq"}, "t.csv: no column seq; its columns are s, label"),
        ("t.csv", "sequence,label\nA,1\n", {"split": "fold"}, "t.csv: no column fold"),
        ("t.csv", "sequence,label\nA,1\n", {"size": "n"}, "data.columns: no column 'size' is read"),
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
