"""`dnamamba score region=`: every change of a region, as a table and its picture."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import dnamamba
from dnamamba import Genome, UserError, get_alphabet


def test_a_region_is_a_table_and_a_picture(
    score: Callable[..., None],
    text: str,
    saved_model: Path,
    genome: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    score("region=one:496-510", f"out={tmp_path / 'region.tsv'}")
    with (tmp_path / "region.tsv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    # From base 501 on there are only N.
    changes = [("one", p, text[p - 1], alt) for p in range(496, 501) for alt in "ACGT" if alt != text[p - 1]]
    assert [(r["chrom"], int(r["pos"]), r["ref"], r["alt"]) for r in table] == changes
    effects = dnamamba.score_variants(
        dnamamba.load(saved_model), Genome(genome, get_alphabet("dna")), changes, window=64
    )
    np.testing.assert_allclose([float(r["llr"]) for r in table], effects.llr, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose([float(r["distance"]) for r in table], effects.distance, rtol=1e-3, atol=1e-5)
    picture = imread(tmp_path / "region.png")
    assert picture.shape[0] > 400
    assert picture.std() > 0.01
    assert "15 variants: " in capsys.readouterr().out
    (tmp_path / "region.tsv").unlink()
    with pytest.raises(UserError, match=r"region\.png is there already"):
        score("region=one:496-510", f"out={tmp_path / 'region.tsv'}")


def test_a_table_is_not_published_without_its_picture(
    score: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(figure: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dnamamba.commands.score.draw", full)
    with pytest.raises(UserError, match=r"can't write .*region.tsv and .*region.png: No space left"):
        score("region=one:496-498", f"out={tmp_path / 'out' / 'region.tsv'}")
    assert list((tmp_path / "out").iterdir()) == []
