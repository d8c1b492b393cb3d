"""Tracks as bedGraph: runs of equal values, and the values of the bigWig."""

from pathlib import Path

import numpy as np
import pytest

from dnamamba import optional
from dnamamba.inference.track_files import check_track_file, track_file

LENGTHS = {"chr1": 12, "chr2": 3}


def write(path: Path) -> None:
    with track_file(path, LENGTHS, path) as file:
        file.add("chr1", 2, np.array([0.5, 0.5, np.nan, np.nan, 1.25, -2.0], dtype=np.float32))
        file.add("chr2", 0, np.array([np.nan, 3.0, 3.0], dtype=np.float32))


def test_rows_are_runs_of_known_values(tmp_path: Path) -> None:
    write(tmp_path / "t.bedgraph")
    assert (tmp_path / "t.bedgraph").read_text().splitlines() == [
        "chr1\t2\t4\t0.5",
        "chr1\t6\t7\t1.25",
        "chr1\t7\t8\t-2",
        "chr2\t1\t3\t3",
    ]


def test_values_are_those_of_the_bigwig(tmp_path: Path) -> None:
    py_big_wig = pytest.importorskip("pyBigWig")
    for name in ("t.bedgraph", "t.bw"):
        write(tmp_path / name)
    values = {record: np.full(length, np.nan) for record, length in LENGTHS.items()}
    for line in (tmp_path / "t.bedgraph").read_text().splitlines():
        record, start, end, value = line.split("\t")
        values[record][int(start) : int(end)] = float(value)
    with py_big_wig.open(str(tmp_path / "t.bw")) as file:
        for record, length in LENGTHS.items():
            np.testing.assert_array_equal(file.values(record, 0, length), values[record])


def test_only_a_bigwig_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    check_track_file(tmp_path / "t.bedgraph")
    with pytest.raises(optional.UserError, match=r"^t\.bw needs pyBigWig"):
        check_track_file(tmp_path / "t.bw")
