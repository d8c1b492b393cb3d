"""bigBed as BED: the same rows, and damage in one line."""

from pathlib import Path

import pytest

from dnamamba import UserError, optional
from dnamamba.data.intervals import bed_rows

pytest.importorskip("pyBigWig")
pybigtools = pytest.importorskip("pybigtools")

ROWS = [
    ("chr1", 5, 20, "a\t0\t+"),
    ("chr1", 30, 60, "b c\t0\t-"),
    ("chr2", 0, 500, "\N{GREEK SMALL LETTER ALPHA}\t0\t."),
]


@pytest.fixture
def big_bed(tmp_path: Path) -> Path:
    pybigtools.open(str(tmp_path / "r.bb"), "w").write({"chr1": 1000, "chr2": 500}, iter(ROWS))
    return tmp_path / "r.bb"


def test_rows_are_those_of_its_bed(big_bed: Path, tmp_path: Path) -> None:
    (tmp_path / "r.bed").write_text("".join("\t".join(map(str, row)) + "\n" for row in ROWS), "utf-8")
    assert list(bed_rows(big_bed)) == list(bed_rows(tmp_path / "r.bed"))


def test_reading_may_stop_early(big_bed: Path) -> None:
    assert next(bed_rows(big_bed)).interval == ("chr1", 5, 20)


@pytest.mark.parametrize("content", [b"", b"chr1\t0\t5\n", None])
def test_what_is_not_a_big_bed_is_refused(content: bytes | None, big_bed: Path) -> None:
    big_bed.write_bytes(big_bed.read_bytes()[:200] if content is None else content)
    with pytest.raises(UserError, match=r"r\.bb: is (not a bigBed file, or )?damaged.*; use another copy$"):
        list(bed_rows(big_bed))


def test_missing_file_and_package_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"x\.bb: no such file$"):
        list(bed_rows(tmp_path / "x.bb"))
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^x\.bb needs pyBigWig, .* 'dnamamba\[tracks\]'$"):
        list(bed_rows(tmp_path / "x.bb"))
