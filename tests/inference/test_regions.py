"""What a BED row says is used or refused: its strand, its blocks, and regions without a known base."""

from pathlib import Path

import numpy as np
import pytest

from dnamamba import LanguageModel, UserError, embed, get_alphabet, tracks
from dnamamba.inference.inputs import read_inputs

from .conftest import random_dna

DNA = get_alphabet("dna")
LETTERS = random_dna(300)
OTHER = DNA.decode(DNA.reverse_complement(DNA.encode(LETTERS)))


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    (tmp_path / "g.fa").write_text(f">one\n{LETTERS}\n>n\n{'N' * 40}\n")
    return tmp_path / "g.fa"


def bed(genome: Path, *rows: str) -> tuple[Path, Path]:
    path = genome.with_name("r.bed")
    path.write_text("".join("\t".join(row.split()) + "\n" for row in rows))
    return genome, path


@pytest.mark.parametrize("pooling", ["mean", "last", "none"])
def test_a_minus_region_is_its_reverse_complement(model: LanguageModel, genome: Path, pooling: str) -> None:
    found = embed(model, bed(genome, "one 100 160 a 0 +", "one 100 160 b 0 -", "one 0 9"), pooling=pooling)
    wanted = embed(model, [LETTERS[100:160], OTHER[140:200], LETTERS[:9]], pooling=pooling)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", [{"window": 25}, {"window": 20, "stride": 15}, {"pool_every": 25}])
def test_windows_of_minus_region_begin_at_its_end(
    model: LanguageModel, genome: Path, how: dict[str, int]
) -> None:
    values, regions = embed(model, bed(genome, "one 100 160 b 0 -"), return_regions=True, **how)
    wanted, places = embed(model, [OTHER[140:200]], return_regions=True, **how)
    np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-6)
    assert [(r.start, r.end, r.strand) for r in regions] == [
        (160 - r.end, 160 - r.start, "-") for r in places
    ]


def test_track_of_minus_region_is_read_backwards(model: LanguageModel, genome: Path) -> None:
    (found,) = tracks(model, bed(genome, "one 100 160 b 0 -"), context=30)
    (wanted,) = tracks(model, [OTHER[110:200]])
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs[30:][::-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("one 0 9 a 0 x", r"row 1: the strand must be \+, - or \. \(got 'x'\); mend column 6"),
        ("one 0 9 a 0 + 0 9 0 2 3,3 0,6", r"row 1: the blocks of a BED12 are not read \(got 2\)"),
    ],
)
def test_unusable_row_is_refused(genome: Path, row: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_inputs(bed(genome, row), DNA)
    assert "\n" not in str(error.value)


def test_one_block_and_a_strand_given_in_python(genome: Path) -> None:
    (region,) = read_inputs(bed(genome, "one 0 9 a 0 - 0 9 0 1 9 0"), DNA).regions
    assert region == ("one", 0, 9, "a", "-")
    (region,) = read_inputs((genome, [("one", 1, 9, "b", "-")]), DNA).regions
    assert region == ("one", 1, 9, "b", "-")


def test_unknown_regions_are_kept_dropped_or_refused(model: LanguageModel, genome: Path) -> None:
    source = bed(genome, "n 0 9", "one 0 90")
    kept = embed(model, source)
    assert np.isnan(kept[0]).all()
    assert np.isfinite(kept[1]).all()
    values, regions = embed(model, source, missing="drop", return_regions=True)
    assert [region.record for region in regions] == ["one"]
    assert np.array_equal(values, kept[1:])
    with pytest.raises(
        UserError, match=r"^1 of 2 regions have no known base, only N: n:1-9; set missing=nan"
    ):
        embed(model, source, missing="error")
    with pytest.raises(UserError, match=r"^missing: must be one of nan, drop, error"):
        embed(model, source, missing="zero")
    with pytest.raises(UserError, match=r"^missing=drop: a vector per base is never missing"):
        embed(model, source, missing="drop", pooling="none")
