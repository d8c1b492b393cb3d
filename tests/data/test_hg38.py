import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnamamba.data import hg38
from dnamamba.data.hg38 import read_split_intervals
from dnamamba.data.intervals import Interval, Splits
from dnamamba.data.synonyms import Synonyms
from dnamamba.errors import UserError

LENGTHS = {"chr1": 1000, "chr2": 500, "chrX": 300}
GOOD = "chr1\t0\t100\ttrain\nchr2\t400\t500\tvalid\nchrX\t0\t300\ttest\n"


def write(tmp_path, text):
    path = tmp_path / "sequences.bed"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("power", "steps"),
    [*((power, "265.8") for power in range(10, 18)), (18, "1063.2"), (19, "2126.3"), (20, "4252.6")],
)
def test_an_epoch_is_the_paper_s(power, steps):
    assert f"{hg38.samples_per_epoch(2**power) * 2**power / 2**24:.1f}" == steps


def test_the_splits_keep_the_order_of_the_rows(tmp_path):
    path = write(tmp_path, "#chrom\n" + GOOD + "chr1 100 200 train name . +\n")
    assert read_split_intervals(path, LENGTHS) == Splits(
        (Interval("chr1", 0, 100), Interval("chr1", 100, 200)),
        (Interval("chr2", 400, 500),),
        (Interval("chrX", 0, 300),),
    )
    assert read_split_intervals(path) == read_split_intervals(path, LENGTHS)


def test_chromosomes_of_other_databases_are_matched_and_said(tmp_path):
    path = write(tmp_path, GOOD.replace("chr1", "NC_000001.11").replace("chrX", "X"))
    synonyms = Synonyms(LENGTHS)
    assert read_split_intervals(path, LENGTHS, synonyms) == read_split_intervals(write(tmp_path, GOOD))
    path = write(tmp_path, GOOD.replace("chr1", "NC_000001.11").replace("chrX", "X"))
    read_split_intervals(path, LENGTHS, synonyms)
    assert synonyms.said() == ["chromosome names matched by synonyms: NC_000001.11 is chr1, X is chrX"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("chr1\t1\t2\n", "row 4: no 4th column; the 4th column must be train, valid or test"),
        ("chr1\t1\t2\t\n", "row 4: no 4th column"),
        ("chr1\t1\t2\tdev\n", "row 4: 'dev' is not a split; the 4th column must be train, valid or test"),
        ("chr1\t2\t2\ttrain\n", "row 4: '2' to '2' is not a range"),
        (
            "chr1\t1\t30\ttrain\t0\t+\t1\t30\t0\t2\t5,5\t0,20\n",
            r"row 4: the blocks of a BED12 are not read \(got 2\)",
        ),
        ("chr3\t1\t2\ttrain\n", "row 4: no record 'chr3'; did you mean .*chr1"),
        ("chr2\t90\t501\ttrain\n", "row 4: chr2 ends at 500 and the interval at 501"),
        ("chr1\t99\t150\tvalid\n", "row 4: chr1:99-150 is for valid and shares bases with row 1, .* train"),
        ("chrX\t299\t300\ttrain\n", "row 4: chrX:299-300 is for train and shares bases with row 3, .* test"),
        (
            "chr2\t0\t450\ttrain\nchr2\t10\t20\ttrain\n",
            "row 2: chr2:400-500 is for valid and shares bases with row 4, .* train",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path, extra, message):
    path = write(tmp_path, GOOD + extra)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}, {message}"):
        read_split_intervals(path, LENGTHS)


@pytest.mark.parametrize("split", Splits._fields)
def test_every_split_has_a_row(tmp_path, split):
    path = write(tmp_path, "".join(line for line in GOOD.splitlines(True) if split not in line))
    with pytest.raises(UserError, match=f"no row of the split '{split}', and 2 rows in all"):
        read_split_intervals(path)


def test_another_assembly_is_told_from_a_wrong_row(tmp_path):
    path = write(tmp_path, GOOD)
    message = r"another assembly .* 2 of its 3 chromosomes are not there \(chr1, chr2\); .* s1, s2, s3, s4, "
    with pytest.raises(UserError, match=message):
        read_split_intervals(path, {**{f"s{number}": 9 for number in range(1, 9)}, "chrX": 300})
    with pytest.raises(UserError, match="row 2: no record 'chr2'"):
        read_split_intervals(path, {"chr1": 1000, "chrX": 300})


def test_rows_of_one_split_may_share_bases(tmp_path):
    path = write(tmp_path, GOOD + "chr1\t50\t150\ttrain\nchr1\t150\t160\tvalid\n")
    assert len(read_split_intervals(path, LENGTHS).train) == 2


ROW = st.tuples(
    st.sampled_from(["a", "b"]), st.integers(0, 60), st.integers(1, 20), st.sampled_from(Splits._fields)
)


@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_file_is_read_or_a_row_is_refused(tmp_path_factory, rows):
    text = "".join(f"{name}\t{start}\t{start + size}\t{split}\n" for name, start, size, split in rows)
    path = write(tmp_path_factory.mktemp("bed"), text)
    sets = {split: set() for split in Splits._fields}
    for name, start, size, split in rows:
        sets[split].update((name, base) for base in range(start, start + size))
    shared = any(sets[one] & sets[two] for one in sets for two in sets if one < two)
    past = any(start + size > 70 for _, start, size, _ in rows)
    empty = not all(sets.values())
    if shared or past or empty:
        message = "no row of" if empty else "ends at" if past else "shares bases"
        with pytest.raises(UserError, match=message):
            read_split_intervals(path, {"a": 70, "b": 70})
        return
    splits = read_split_intervals(path, {"a": 70, "b": 70})
    assert [interval for split in splits for interval in split] == [
        Interval(name, start, start + size)
        for split in Splits._fields
        for name, start, size, own in rows
        if own == split
    ]
