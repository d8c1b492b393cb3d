"""Signal from bigWig and bedGraph: means over bins by hand, and what can't be read in one line."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from dnamamba import UserError
from dnamamba.data.signal import read_signal

LENGTHS = {"chr1": 10, "chr2": 4}
ROWS = "track type=bedGraph\nchr1\t0\t3\t2.0\nchr1 3 4 nan\nchr1\t4\t6\t5\n1\t9\t10\t-1\n"


def values(path: Path, size: int, **settings: str) -> list[list[float]]:
    found = read_signal(path, LENGTHS, "g.fa", size, **settings)  # type: ignore[arg-type]
    return [row.tolist() for row in found.values.values()]


def test_bins_are_means_over_bases_that_have_a_value(tmp_path: Path) -> None:
    path = tmp_path / "a.bedgraph"
    path.write_text(ROWS)
    nan = np.nan
    np.testing.assert_equal(values(path, 4), [[2.0, 5.0, -1.0], [nan]])
    np.testing.assert_equal(values(path, 3), [[2.0, 5.0, nan, -1.0], [nan, nan]])
    np.testing.assert_equal(values(path, 1)[0], [2, 2, 2, nan, 5, 5, nan, nan, nan, -1])
    # A file that leaves zeros out leaves them out of half a bin, too.
    zeros = [[2.0, np.float32(10 / 3), 0.0, -1.0], [0.0, 0.0]]
    np.testing.assert_equal(values(path, 3, missing="zero"), zeros)
    with gzip.open(tmp_path / "b.bedgraph.gz", "wt") as file:
        file.write(ROWS)
    np.testing.assert_equal(values(tmp_path / "b.bedgraph.gz", 4), values(path, 4))


def write_bigwig(path: Path, lengths: dict[str, int], middle: float = 5.0) -> None:
    pyBigWig = pytest.importorskip("pyBigWig")
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(lengths.items()))
        file.addEntries(["chr1", "chr1", "chr1"], [0, 4, 9], ends=[3, 6, 10], values=[2.0, middle, -1.0])


def test_bigwig_gives_what_its_bedgraph_gives(tmp_path: Path) -> None:
    (tmp_path / "a.bedgraph").write_text(ROWS)
    write_bigwig(tmp_path / "a.bw", LENGTHS)
    for size in (1, 3, 4):
        for missing in ("leave_out", "zero"):
            found, same = (values(tmp_path / name, size, missing=missing) for name in ("a.bw", "a.bedgraph"))
            np.testing.assert_equal(found, same)


def test_values_of_bigwig_that_are_no_numbers(tmp_path: Path) -> None:
    """NaN is a base without a value; an infinite one is refused, not averaged."""
    pyBigWig = pytest.importorskip("pyBigWig")

    def written(name: str, value: float) -> Path:
        with pyBigWig.open(str(tmp_path / name), "w") as file:
            file.addHeader(list(LENGTHS.items()))
            file.addEntries("chr1", 2, values=[1.0, value, 4.0], span=1, step=1)
        return tmp_path / name

    np.testing.assert_equal(values(written("nan.bw", np.nan), 4), [[1.0, 4.0, np.nan], [np.nan]])
    with pytest.raises(UserError, match=r"inf.bw: chr1:\d+ has an infinite value"):
        values(written("inf.bw", np.inf), 4)


def test_bigwig_without_any_value_is_one_line(tmp_path: Path) -> None:
    """Its library answers with no number at all, for which the reader waited for ever."""
    pyBigWig = pytest.importorskip("pyBigWig")
    path = tmp_path / "none.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(LENGTHS.items()))
    with pytest.raises(UserError, match=r"none\.bw: no base of g\.fa has a value"):
        values(path, 4)


def test_bigwig_of_another_assembly_is_refused(tmp_path: Path) -> None:
    write_bigwig(tmp_path / "a.bw", {"chr1": 12})
    with pytest.raises(
        UserError, match=r"a.bw: record chr1 has 12 bases there, and 10 in g.fa; it is of another"
    ):
        values(tmp_path / "a.bw", 4)
    write_bigwig(tmp_path / "b.bw", {"chr1": 10, "chr7": 9})
    with pytest.raises(UserError, match=r"b.bw: g.fa has no record 'chr7'"):
        values(tmp_path / "b.bw", 4)
    assert values(tmp_path / "b.bw", 10, unknown="skip")[0] == [pytest.approx((2 * 3 + 5 * 2 - 1) / 6)]


def test_two_records_of_bigwig_that_mean_one_are_refused(tmp_path: Path) -> None:
    """The values of the second would replace those of the first."""
    write_bigwig(tmp_path / "a.bw", {"chr1": 10, "1": 10})
    with pytest.raises(UserError, match=r"a\.bw: chr1 and 1 are both chr1 of g\.fa; give its values once"):
        values(tmp_path / "a.bw", 4)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "chr1\t8\t11\t1\n",
            "row 1: ends at 11, but record chr1 of g.fa has 10 bases; it is of another assembly",
        ),
        ("chr9\t0\t1\t1\n", "row 1: g.fa has no record 'chr9'"),
        ("chr1\t0\t1\n", "row 1: expected record, start, end and a number"),
        ("chr1\t0\t1\tx\n", "row 1: expected record, start, end and a number"),
        ("chr1\t0\t1_0\t1\n", "row 1: expected record, start, end and a number"),
        ("chr1\t0\t1\t1_0\n", "row 1: expected record, start, end and a number"),
        ("chr1\t0\t\u0661\t1\n", "row 1: expected record, start, end and a number"),
        ("chr1\t0\t1\tinf\n", "row 1: expected record, start, end and a number"),
        ("chr1\t0\t1\t1e39\n", "row 1: 0 to 1 is not a range of bases, or 1e39 not a number within float32"),
        ("chr1\t2\t2\t1\n", "row 1: 2 to 2 is not a range of bases"),
        ("chr1\t0\t2\t1\nchr1\t1\t3\t1\n", "row 2: a base of chr1:1-3 has a value already"),
        ("chr1\t0\t2\tnan\n", "no base of g.fa has a value"),
    ],
)
def test_unusable_row_is_one_line(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "a.bedgraph"
    path.write_text(row)
    with pytest.raises(UserError, match=words) as error:
        values(path, 2)
    assert "\n" not in str(error.value)


def test_file_that_is_not_a_bigwig_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyBigWig")
    (tmp_path / "a.bw").write_text("no")
    with pytest.raises(UserError, match=r"a\.bw: is not a bigWig file"):
        values(tmp_path / "a.bw", 2)
    with pytest.raises(UserError, match="no such file"):
        values(tmp_path / "none.bw", 2)


def test_damaged_bigwig_is_one_line_also_where_its_library_crashes(tmp_path: Path) -> None:
    """The count of bases with a value (after the header's offset 44) is the only check that an index has."""
    path = tmp_path / "a.bw"
    write_bigwig(path, LENGTHS)
    whole = path.read_bytes()
    summary = int.from_bytes(whole[44:52], "little")
    assert int.from_bytes(whole[summary : summary + 8], "little") == 6
    path.write_bytes(whole[:summary] + b"\7" + whole[summary + 1 :])
    with pytest.raises(UserError, match=r"a\.bw: .* by its header 7 bases have a value, and 6 were found"):
        values(path, 1)
    data = int.from_bytes(whole[16:24], "little") + 12  # zlib's bytes
    path.write_bytes(whole[:data] + bytes(8) + whole[data + 8 :])
    with pytest.raises(UserError, match=r"a\.bw: is damaged; its library ended while it was read"):
        values(path, 1)


@pytest.mark.parametrize(("far", "readable"), [(0.0, True), (1e4, True), (1e7, False), (-1e12, False)])
def test_numbers_that_float32_cannot_tell_apart_are_refused(
    tmp_path: Path, far: float, readable: bool
) -> None:
    """The step of float32 is 0.001 at 10,000 and 1 at 10,000,000; the spread is 0.5 here."""
    path = tmp_path / "a.bedgraph"
    path.write_text("".join(f"chr1\t{i}\t{i + 1}\t{far + i % 2 + 0.25!r}\n" for i in range(10)))
    if readable:
        np.testing.assert_allclose(values(path, 1)[0], [far + 0.25, far + 1.25] * 5, rtol=6e-8)
        return
    with pytest.raises(UserError, match=r"a\.bedgraph: numbers up to .* differ by 0\.5 .*subtract"):
        values(path, 1)


def test_equal_numbers_that_float32_rounds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bedgraph"
    path.write_text("chr1\t0\t10\t16777217.1\n")
    assert values(path, 3)[0] == [float(np.float32(16777217.1))] * 4
