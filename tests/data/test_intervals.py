import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval, bed_rows, read_bed, split_records, unknown_record, without_n
from dnamamba.data.progress import reading
from dnamamba.errors import UserError, printable

YEAST = {"chrI": 230218, "chrII": 813184, "chrIII": 316620, "chrIV": 1531933, "chrV": 576874, "chrVI": 270161}
YEAST |= {
    "chrVII": 1090940,
    "chrVIII": 562643,
    "chrIX": 439888,
    "chrX": 745751,
    "chrXI": 666816,
    "chrXII": 1078177,
}
YEAST |= {"chrXIII": 924431, "chrXIV": 784333, "chrXV": 1091291, "chrXVI": 948066}


def names(intervals):
    return [interval.name for interval in intervals]


def attempt(call):
    try:
        return call()
    except UserError as error:
        return error


def write_genome(path, **records):
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in records.items()))
    return Genome(path, get_alphabet("dna"))


def test_named_records_are_held_out_whole():
    splits = split_records({"a": 90, "b": 20, "c": 30}, valid=["c"], test=["b"], window=10)
    assert splits == ((Interval("a", 0, 90),), (Interval("c", 0, 30),), (Interval("b", 0, 20),))


def test_split_left_out_holds_nothing_out():
    splits = split_records({"a": 90, "b": 20}, valid=None, test=["b"], window=10)
    assert (names(splits.train), splits.valid, names(splits.test)) == (["a"], (), ["b"])
    splits = split_records({"a": 90}, valid=[], test=None, window=10)
    assert (names(splits.train), splits.valid, splits.test) == (["a"], (), ())


@pytest.mark.parametrize(
    ("lengths", "valid", "test", "message"),
    [
        (
            {"chrI": 100, "chrII": 99},
            ["chrIII"],
            [],
            r"data.valid: no record 'chrIII'; did you mean chrII or chrI\?",
        ),
        ({"chrI": 100, "chrV": 99}, ["chr1"], [], r"data.valid: no record 'chr1'; did you mean chrI\?"),
        ({"chr1": 100, "chr11": 99}, ["1"], [], r"data.valid: no record '1'; did you mean chr1\?"),
        ({"chrI": 100, "b": 99}, [], ["2"], r"data.test: no record '2'; the records are chrI, b"),
        ({"a": 100, "b": 99}, ["b"], ["b"], "data.valid and data.test both name b"),
        ({"a": 100, "b": 99}, ["b"], ["a"], "nothing is left to train on"),
        (
            {"a": 99, "b": 1000},
            ["b"],
            [],
            "no record of what is left to train on .* the longest, a, has 99; .* most 98",
        ),
        (
            {"a": 99, "b": 98},
            None,
            None,
            "as long as a window of 100 bases: the longest, a, has 99; set data.max_length",
        ),
        ({"a": 299}, None, None, r"record a \(299 bases\) is too short .* data.max_length to at most 98"),
        ({}, None, None, "has no records"),
    ],
)
def test_a_split_that_cannot_be_made_says_why(lengths, valid, test, message):
    with pytest.raises(UserError, match=message):
        split_records(lengths, valid=valid, test=test, window=100)


def test_chromosomes_nearest_five_percent_are_held_out():
    splits = split_records(YEAST, valid=None, test=None, window=1025)
    # 5 % is 603,566: V is 26,692 away from it and VIII 40,923, the next.
    assert (names(splits.valid), names(splits.test)) == (["chrV"], ["chrVIII"])
    assert len(splits.train) == 14


def test_many_contigs_are_dealt_by_length():
    lengths = {f"c{number}": 1000 + number for number in range(200)}
    splits = split_records(lengths, valid=None, test=None, window=100)
    assert names(splits.valid) == [f"c{199 - rank}" for rank in range(9, 200, 20)]
    assert names(splits.test) == [f"c{199 - rank}" for rank in range(10, 200, 20)]


def test_one_chromosome_gives_its_end():
    splits = split_records({"plasmid": 50, "chr": 10_000}, valid=None, test=None, window=101)
    assert splits.train == (Interval("plasmid", 0, 50), Interval("chr", 0, 9000))
    assert splits.valid == (Interval("chr", 9000, 9500),)
    assert splits.test == (Interval("chr", 9500, 10_000),)
    splits = split_records({"chr": 303}, valid=None, test=None, window=101)
    assert splits == tuple((Interval("chr", start, start + 101),) for start in (0, 101, 202))


@given(
    lengths=st.lists(st.one_of(st.integers(1, 3000), st.integers(900, 1100)), min_size=1, max_size=150),
    window=st.integers(1, 1200),
)
def test_automatic_split_shares_every_base_once(lengths, window):
    by_name = {f"r{number}": length for number, length in enumerate(lengths)}
    try:
        splits = split_records(by_name, valid=None, test=None, window=window)
    except UserError:
        assert max(lengths) < 3 * window
        return
    covered = {name: np.zeros(length, dtype=int) for name, length in by_name.items()}
    for interval in (*splits.train, *splits.valid, *splits.test):
        covered[interval.name][interval.start : interval.end] += 1
    assert all((count == 1).all() for count in covered.values())
    assert max(interval.length for interval in splits.train) >= window
    for held_out in (splits.valid, splits.test):
        assert held_out
        assert min(interval.length for interval in held_out) >= window
        share = sum(interval.length for interval in held_out) / sum(lengths)
        assert share <= 0.2 or sum(interval.length for interval in held_out) == window
    assert splits == split_records(by_name, valid=None, test=None, window=window)


def test_runs_of_n_over_a_window_are_cut(tmp_path):
    genome = write_genome(tmp_path / "g.fa", a="NNNNACGTNNNACGTNNNNNNACGNNNN", b="NNNNN", c="ACNNNGT")
    whole = [Interval(name, 0, length) for name, length in genome.lengths.items()]
    assert without_n(whole, genome, 4) == (
        Interval("a", 4, 15),
        Interval("a", 21, 24),
        Interval("c", 0, 7),
    )
    assert without_n([Interval("a", 2, 26)], genome, 4) == (
        Interval("a", 2, 15),
        Interval("a", 21, 26),
    )


@given(st.text(alphabet="AN", min_size=1, max_size=60), st.integers(1, 8))
@settings(max_examples=100)
def test_no_window_left_is_without_base_to_score(tmp_path_factory, bases, length):
    genome = write_genome(tmp_path_factory.mktemp("n") / "g.fa", r=bases)
    runs = [match.span() for match in re.finditer(f"N{{{length},}}", bases)]
    ends = [0, *(end for run in runs for end in run), len(bases)]
    expected = [
        Interval("r", start, end) for start, end in zip(ends[::2], ends[1::2], strict=True) if end > start
    ]
    kept = attempt(lambda: without_n([Interval("r", 0, len(bases))], genome, length))
    if isinstance(kept, UserError):
        assert all(interval.length <= length for interval in expected)
        return
    assert list(kept) == expected
    for interval in kept:
        for start in range(interval.start, interval.end - length):
            assert "A" in bases[start + 1 : start + length + 1]


def test_a_genome_of_only_n_is_named(tmp_path):
    genome = write_genome(tmp_path / "g.fa", gap="N" * 50, island="N" * 20 + "ACG" + "N" * 20)
    with pytest.raises(UserError, match=r"g\.fa: no window of 11 bases that is not only N .* gap, island"):
        without_n([Interval("gap", 0, 50), Interval("island", 0, 43)], genome, 10)


def test_bed_rows_become_intervals(tmp_path):
    path = tmp_path / "a.bed"
    path.write_bytes(b"# made by\ntrack name=x\nbrowser position\n\nchr1\t0\t10\tgene\t0\t+\r\nchr2 5 6\n")
    assert read_bed(path) == [Interval("chr1", 0, 10), Interval("chr2", 5, 6)]
    assert read_bed(path)[0].length == 10


def test_bed_with_byte_order_mark_in_home_folder(tmp_path, monkeypatch):
    (tmp_path / "bom.bed").write_bytes(b"\xef\xbb\xbfchr1\t0\t10\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_bed("~/bom.bed") == [Interval("chr1", 0, 10)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t1\n", r"row 1: 2 column\(s\)"),
        ("chr1\t0\t5\nchr1\t5\t5\n", "row 2: '5' to '5' is not a range"),
        ("chr1\t-1\t5\n", "row 1: '-1' to '5' is not a range"),
        ("chrom\tstart\tend\n", "row 1: 'start' to 'end' is not a range"),
        ("chr1\t1.0\t5\n", "row 1: '1.0' to '5' is not a range"),
        (f"chr1\t1\t{'9' * 5000}\n", "row 1: '1' to '999.*' is not a range"),
    ],
)
def test_a_bad_bed_row_is_named(tmp_path, text, message):
    path = tmp_path / "bad.bed"
    path.write_text(text)
    with pytest.raises(UserError, match=r"bad\.bed, " + message):
        read_bed(path)


def test_bed_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "x.bed.gz"
    with pytest.raises(UserError, match=r"x\.bed\.gz: No such file"):
        read_bed(path)
    path.write_bytes(b"\x1f\x8b\x08\xff\xfe")
    with pytest.raises(UserError, match=r"x\.bed\.gz is truncated or corrupt"):
        read_bed(path)


@given(st.one_of(st.binary(max_size=80), st.text(alphabet="chr1\t \n0#-.", max_size=60).map(str.encode)))
def test_any_bytes_are_bed_or_user_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bed") / "fuzz.bed"
    path.write_bytes(content)
    intervals = attempt(lambda: read_bed(path))
    if isinstance(intervals, UserError):
        assert str(path) in str(intervals)
        assert "\n" not in str(intervals)
    else:
        assert all(0 <= interval.start < interval.end for interval in intervals)


@pytest.mark.parametrize("control", [*map(chr, range(32)), "\x7f", "\x85", "\u2028", "\xa0"])
@pytest.mark.parametrize(
    "row", ["c{}hr1\t1\t5\n", "chr1\t1{}\t5\n", "chr1\t1\t5{}\n", "chr1\t1\t5\tx{}y\n", "chr1\t1\t5{}\t\n"]
)
def test_control_characters_in_bed_are_read_or_refused(tmp_path, control, row):
    path = tmp_path / "c.bed"
    path.write_bytes(("chr1\t0\t2\n" + row.format(control)).encode())
    try:
        found = read_bed(path)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert control in "\t\n\r \xa0"
    assert found[0] == Interval("chr1", 0, 2)
    assert all(0 <= start < end for _, start, end in found)


def test_lines_of_bed_end_as_on_any_system(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "l.bed").write_bytes(end.join(["chr1\t0\t2\tx", "", "chr2\t1\t9", ""]).encode())
        rows = list(bed_rows(tmp_path / "l.bed"))
        assert [(row.number, row.interval, row.others) for row in rows] == [
            (1, Interval("chr1", 0, 2), ("x",)),
            (3, Interval("chr2", 1, 9), ()),
        ]


def test_long_names_and_many_are_bounded_in_message():
    many = [f"contig_{number}" for number in range(200_000)]
    began = time.process_time()
    message = unknown_record("contig_x", many)
    assert message.startswith("no record 'contig_x'; did you mean contig_")
    message = unknown_record("n" * 20_000, ["m" * 20_000, *many])
    assert message.startswith(f"no record '{'n' * 100}... (20,000 characters)'; the records are mmm")
    assert len(message) < 500
    assert time.process_time() - began < 10
    assert len(str(UserError("x" * 10**6 + " at its end"))) < 4100
    assert str(UserError("x" * 10**6 + " at its end")).endswith(" at its end")


@pytest.mark.parametrize("name", ["[/red]g.fa", "[bold]g.fa", "g\x1b]0;owned\x07.fa", ":dna:.fa"])
def test_bar_shows_name_as_it_is_or_escaped(name, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    with reading(f"reading {name}", 200_000_000) as done:
        done(100_000_000)
    shown = capsys.readouterr().err
    assert f"reading {printable(name)}" in shown
    assert "\x1b]0;" not in shown
