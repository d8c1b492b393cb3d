"""`python -m dnamamba.tracks`: what a bigWig holds, read by two libraries; nothing half-written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pybigtools
import pyBigWig
import pytest
from omegaconf import DictConfig

import dnamamba
from dnamamba import UserError, optional
from dnamamba.inference.bigwig import bigwig
from dnamamba.tracks import run
from tests import processes


@pytest.fixture
def tracks(
    inference_config: Callable[..., DictConfig], saved_model: Path, genome: Path
) -> Callable[..., None]:
    return lambda *overrides: run(
        inference_config("tracks", f"model={saved_model}", f"fasta={genome}", "device=cpu", *overrides)
    )


@pytest.mark.parametrize("strand", ["forward", "both"])
def test_whole_records(
    tracks: Callable[..., None], saved_model: Path, genome: Path, tmp_path: Path, strand: str
) -> None:
    tracks(f"out={tmp_path / 'x.bw'}", "quantity=both", f"strand={strand}")
    expected = dnamamba.tracks(dnamamba.load(saved_model), genome, strand=strand)
    lengths = {"one": 3000, "two": 1000, "three": 1000}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "genome.fa",
        "x.entropy.bw",
        "x.log_likelihood.bw",
    ]
    for quantity in ("log_likelihood", "entropy"):
        path = str(tmp_path / f"x.{quantity}.bw")
        ours, theirs = pyBigWig.open(path), pybigtools.open(path)
        assert ours.chroms() == theirs.chroms() == lengths
        for track, (name, length) in zip(expected, lengths.items(), strict=True):
            values = getattr(track, quantity)
            np.testing.assert_array_equal(ours.values(name, 0, length, numpy=True).astype("f4"), values)
            read = np.array([(s, v) for s, _, v in theirs.records(name)])
            np.testing.assert_array_equal(read[:, 0], np.flatnonzero(~np.isnan(values)))
            np.testing.assert_array_equal(read[:, 1].astype("f4"), values[~np.isnan(values)])
            (mean,) = ours.stats(name, 0, length, exact=True)
            assert mean == pytest.approx(np.nanmean(values, dtype="f8"), abs=1e-5)


def test_regions_in_any_order(
    tracks: Callable[..., None], saved_model: Path, genome: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.bed").write_text("two\t900\t1000\none\t600\t800\nthree\t0\t10\none\t5\t50\n")
    tracks(f"out={tmp_path / 'x.bw'}", f"bed={tmp_path / 'x.bed'}", "context=30")
    regions = [("one", 5, 50), ("one", 600, 800), ("three", 0, 10), ("two", 900, 1000)]
    expected = dnamamba.tracks(dnamamba.load(saved_model), (genome, regions), context=30)
    file = pyBigWig.open(str(tmp_path / "x.bw"))
    covered = 0
    for region, track in zip(regions, expected, strict=True):
        np.testing.assert_array_equal(file.values(*region, numpy=True).astype("f4"), track.log_likelihood)
        covered += int(np.isfinite(track.log_likelihood).sum())
    assert file.header()["nBasesCovered"] == covered


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("out=x.wig",), "out=x.wig: must be a file's name that ends in .bw or .bigwig or .bigWig"),
        (("out=", "quantity=both"), "out: is empty; give a path"),
        (("out=d/.bw", "quantity=both"), "out=d/.bw: must be a file's name that ends in .bw"),
        (("out=there.bw",), "out=there.bw is there already; set overwrite=true"),
        (
            ("out=x.bw", "window=9"),
            "is pretrained, and answers no question window by window (got 9); leave it out",
        ),
        (("out=x.bw", "quantity=surprise"), "quantity: must be one of log_likelihood, entropy, both"),
        (("out=x.bw", "strand=-"), "strand: must be one of forward, both"),
        (
            ("out=x.bw", "bed=overlapping.bed"),
            "regions overlap, and a bigWig holds one value per base: one 0 to 90",
        ),
        (("out=x.bw", "bed=past.bed"), "past.bed, row 1: ends at 2,000, but record two of "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tracks: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("past.bed").write_text("two\t0\t2000\n")
    Path("overlapping.bed").write_text("one\t0\t90\ntwo\t3\t50\none\t89\t100\n")
    Path("there.bw").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError) as error:
        tracks(*overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Path("there.bw").read_text() == "mine"


def test_a_missing_package_is_one_line(
    tracks: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"needs pyBigWig, which is not installed: pip install 'dnamamba\[tracks\]'"
    ):
        tracks(f"out={tmp_path / 'x.bw'}")


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from dnamamba import UserError
from dnamamba.inference.bigwig import bigwig
resource.setrlimit(resource.RLIMIT_FSIZE, (12_000,) * 2)
try:
    with bigwig(Path(sys.argv[1]), {"one": 1_000_000}) as writer:
        for start in range(0, int(sys.argv[2]), 1000):
            writer.add("one", start, np.random.default_rng(start).random(1000, dtype=np.float32))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("bases", [4_000, 400_000])
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, bases: int) -> None:
    """No file may grow over 12,000 bytes. At its end libBigWig says nothing, before it aborts."""
    out = tmp_path / "x.bw"
    done = processes.run("-c", FULL, str(out), str(bases))
    assert done.stdout.startswith(f"can't write {out}: ")
    assert done.stdout.endswith("is the disk full?\n")
    assert (done.stdout.count("\n"), done.stderr, done.returncode) == (1, "", 0)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def stop_in_the_middle() -> None:
        with bigwig(tmp_path / "x.bw", {"one": 100}) as writer:
            writer.add("one", 0, np.ones(50, dtype=np.float32))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop_in_the_middle()
    assert list(tmp_path.iterdir()) == []
