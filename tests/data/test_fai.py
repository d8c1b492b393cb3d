import pyfaidx
import pytest
from fasta_texts import fasta_files
from hypothesis import given
from hypothesis import strategies as st

from dnamamba.data.fai import IndexedRecord, fai_lengths, fai_text, index_fasta
from dnamamba.errors import UserError


def index(text):
    return index_fasta([text], "x.fa")


def test_the_index_of_a_small_file():
    text = b">one first\nACGT\nAC\n\n>two\r\nACGTA\r\nACG"
    assert index(text) == [IndexedRecord("one", 6, 11, 4, 5), IndexedRecord("two", 8, 26, 5, 7)]
    assert fai_text(index(text)) == "one\t6\t11\t4\t5\ntwo\t8\t26\t5\t7\n"


def test_pyfaidx_indexes_a_well_formed_file_alike(tmp_path):
    path = tmp_path / "g.fa"
    path.write_bytes(b">a b\n" + b"ACGTACGTAC\n" * 7 + b"ACG\n>c\nAC\n>d\n" + b"ACGT\n" * 3)
    pyfaidx.Faidx(path)
    assert fai_text(index(path.read_bytes())) == (tmp_path / "g.fa.fai").read_text()


@given(fasta_files(), st.integers(1, 64))
def test_cutting_text_into_pieces_changes_nothing(file, size):
    _, text = file
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert index_fasta(pieces, "x.fa") == index(text)


@given(fasta_files())
def test_names_and_lengths_are_those_of_the_records(file):
    records, text = file
    assert {row.name: row.length for row in index(text)} == {
        name: len(bases) for name, bases in records.items()
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"x\.fa: no records"),
        (b"\n\r\n\n", r"x\.fa: no records"),
        (b"\nACGT\n>a\nAC\n", r"x\.fa, line 2: no header; a FASTA begins with"),
        (b"\xff\xfe>\0a\0\n\0", r"x\.fa: UTF-16 text; save it as UTF-8"),
        (b">a\rtitle\nAC\n", r"x\.fa, line 2: a line ends with LF, but those before it with a carriage"),
        (b">a\nAC\n>b\rc\nAC\n", r"x\.fa, line 3: a carriage return \(CR\) within the line"),
        (b">a\nAC\n;G\nAC\n", r"x\.fa, line 3: a line that begins with ';' is a comment to some"),
        (b">a\nAC\n >b\nAC\n", r"x\.fa, line 3: white space before the '>' of a header"),
        (b">a\nAC\tGT\n", r"x\.fa, line 2: the control character '\\t' between letters"),
        (b">a\nAC \0 GT\n", r"x\.fa, line 2: the control character '\\x00' between letters"),
        (b">a\nAC\n> \nAC\n", r"x\.fa, line 3: a header without a name"),
        (b">a\nAC\n>\xff\nAC\n", r"x\.fa, line 3: the header is not UTF-8 text"),
        (b">a\nAC\n>b\nAC\n>a x\nAC\n", r"x\.fa, line 5: a second record named 'a'"),
        (b">a\n>b\nAC\n", r"x\.fa, record a: no sequence"),
        (b">a\nAC\n>b\n\n\n", r"x\.fa, record b: no sequence"),
        (
            b">a\nACGT\nAC\nACGT\n",
            r"x\.fa, record a, line 4: the lines of a record must have one length \(here 4 let",
        ),
        (b">a\nACGT\nACGTA\n", r"x\.fa, record a, line 3: the lines"),
        (b">a\nACGT\n\nACGT\n", r"x\.fa, record a, line 4: the lines"),
        (b">a\nACGT\r\nACGT\nACGT\r\n", r"x\.fa, record a, line 4: the lines"),
        (b">a\nAC\rGT\rAC\n", r"x\.fa, line 2: a carriage return \(CR\) within the line"),
        (b">a\nACGT\nAC\xc3\xa9\n", r"x\.fa, record a: line 3 is not ASCII text"),
    ],
)
def test_bad_fasta_is_named_by_record_and_line(text, message):
    for size in (1, 3, 1000):
        with pytest.raises(UserError, match=message):
            index_fasta([text[start : start + size] for start in range(0, len(text), size)], "x.fa")


@pytest.mark.parametrize(
    ("text", "offset"),
    [(b"\xef\xbb\xbf>a\nAC\n", 6), (b">a\rAC\r", 3), (b"\r\r>a\rAC", 5), (b"\xef\xbb\xbf>a\r\nAC\r\n", 7)],
)
def test_mark_and_other_line_ends_move_no_base(text, offset):
    for size in (1, 2, 3, 1000):
        (row,) = index_fasta([text[start : start + size] for start in range(0, len(text), size)], "x.fa")
        assert (row.name, row.length, row.offset) == ("a", 2, offset)
        assert text[row.offset : row.offset + 2] == b"AC"


@pytest.mark.parametrize(
    "row", ["a\t4\t3\t4", "a\t4\t3\t4\t5\t6", "a\t-4\t3\t4\t5", "a\t4\t3\t0\t1", "a\t4\t3\t4\t4", "", "\0"]
)
def test_bad_fai_is_named_by_its_line(tmp_path, row):
    path = tmp_path / "g.fai"
    path.write_text(f"b\t4\t3\t4\t5\n{row}\n")
    with pytest.raises(UserError, match=r"g\.fai is not a FASTA index \(line 2\)"):
        fai_lengths(path)
    path.write_text("b\t4\t3\t4\t5\nb\t4\t9\t4\t5\n")
    with pytest.raises(UserError, match=r"g\.fai is not a FASTA index \(line 2\)"):
        fai_lengths(path)
    path.write_text("b\t4\t3\t4\t5\n")
    assert fai_lengths(path) == {"b": 4}


@given(
    st.one_of(st.binary(max_size=60), st.text(alphabet=">AC \r\né", max_size=60).map(str.encode)),
    st.integers(1, 9),
)
def test_any_text_is_indexed_or_refused(text, size):
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    try:
        rows = index_fasta(pieces, "x.fa")
    except UserError as error:
        message = str(error)
        assert message.startswith("x.fa")
        assert "\n" not in message
        return
    for row in rows:
        lines = -(-row.length // row.line_bases)
        block = text[row.offset : row.offset + row.length + (lines - 1) * (row.line_bytes - row.line_bases)]
        assert len(block.replace(b"\r", b"").replace(b"\n", b"")) == row.length


FASTA = ">a first\nACGT\nAC\n>b\r\nGGCC\r\nT-"


@pytest.mark.parametrize(
    "text",
    [
        FASTA,
        FASTA + "\n",
        "\n" + FASTA,
        FASTA.replace("first", "x" * 5000),
        "".join(f">r{number}\nACGT\n" for number in range(3000)),
    ],
)
def test_the_fai_of_a_fasta_fits_it(tmp_path, text):
    (tmp_path / "g.fa").write_bytes(text.encode())
    rows = index(text.encode())
    (tmp_path / "g.fa.fai").write_text(fai_text(rows))
    assert fai_lengths(tmp_path / "g.fa.fai") == {row.name: row.length for row in rows}


@pytest.mark.parametrize(
    "other",
    [
        FASTA.replace(">a", ">x"),
        FASTA.replace(">b", ">bb"),
        FASTA.replace("AC\n", "ACG\n"),
        FASTA.replace(">a", ">").replace(">b", ">a").replace("> ", ">b "),
        FASTA + "A",
        FASTA[:-1],
        FASTA.replace("first", "1st"),
        ">a\nAC\n",
    ],
)
def test_a_fai_of_another_fasta_is_refused(tmp_path, other):
    (tmp_path / "g.fa").write_bytes(other.encode())
    (tmp_path / "g.fa.fai").write_text(fai_text(index(FASTA.encode())))
    with pytest.raises(UserError, match=r"g\.fa\.fai does not fit .*g\.fa: record . is not where it says"):
        fai_lengths(tmp_path / "g.fa.fai")
