"""Results and the files next to them are read as they were written, or refused by name."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.intervals import write_split_intervals
from dnamamba import UserError
from dnamamba.data.hg38 import read_split_intervals
from dnamamba.data.homology import read_homology
from dnamamba.data.intervals import Interval, Splits
from dnamamba.reports.page import page
from dnamamba.seals import read_results, write_results, write_table

RESULTS = {"task": "classification", "test": {"accuracy": {"value": 0.75, "low": 0.5, "high": 1.0}}, 4: [0.5]}
FILES = {
    "predictions.tsv": "name\tsplit\tlabel\tpredicted\tp_a\tp_b\ns\ttest\ta\ta\t0.8\t0.2\n",
    "config.yaml": "train:\n  max_steps: 4\n",
    "curve.png": "any bytes",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    write_results(tmp_path / "metrics.json", dict(RESULTS))
    return tmp_path


def refusal(run: Path) -> str | None:
    """What the page of a run is refused with."""
    try:
        page(run)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ["metrics.json", *FILES])
def test_page_refuses_any_file_with_one_flipped_bit(name: str, run: Path) -> None:
    assert "0.7500" in page(run)
    data, draw = (run / name).read_bytes(), random.Random(name)
    refused = 0
    for _ in range(60):
        place, bit = draw.randrange(len(data)), draw.randrange(8)
        changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        (run / name).write_bytes(changed)
        said = refusal(run)
        # Of JSON's bytes some are no part of what it says, such as the name of another file's sum.
        assert said is not None or name == "metrics.json"
        # A flipped bit in a sum accuses the file whose sum it is.
        assert said is None or name in said or (name == "metrics.json" and "sha256" in said)
        refused += said is not None
    assert refused > 50
    (run / name).write_bytes(data)
    page(run)


def test_results_without_checksums_are_read(run: Path) -> None:
    (run / "metrics.json").write_text('{"task": "classification", "test": {}}')
    (run / "config.yaml").write_text("train: {}\n")
    assert "classification" in page(run)


def test_number_that_is_not_finite_is_null(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", {"valid": {"loss": float("nan"), "rows": (1.0, float("inf"))}})
    assert read_results(tmp_path / "results.json", "")["valid"] == {"loss": None, "rows": [1.0, None]}


@pytest.mark.parametrize("name", FILES)
def test_a_checksum_that_was_removed_is_noticed(name: str, run: Path) -> None:
    written = json.loads((run / "metrics.json").read_text())
    del written["sha256"][name]
    (run / "metrics.json").write_text(json.dumps(written))
    assert refusal(run) is not None
    assert "metrics.json: its sha256 is not that of its values" in str(refusal(run))


def test_a_table_with_any_bit_flipped_is_refused_by_its_readers(tmp_path: Path) -> None:
    bed, homology = tmp_path / "x.bed", tmp_path / "x.chromosomes.tsv"
    splits = Splits(*((Interval("chr1", 100 * i, 100 * i + 90),) for i in range(3)))
    write_split_intervals(bed, splits, ("chr1",))
    write_table(homology, "chromosome\thuman\nchr1\t1\nchr2\t3\n")
    readers: dict[Path, Callable[[Path], object]] = {bed: read_split_intervals, homology: read_homology}
    for path, read in readers.items():
        read(path)
        data = path.read_bytes()
        for place in range(8 * len(data)):
            changed = bytearray(data)
            changed[place // 8] ^= 1 << place % 8
            path.write_bytes(changed)
            with pytest.raises(UserError, match=rf"{path.name}: its SHA-256 .* {path.name}\.sha256"):
                read(path)
        path.write_bytes(data.replace(b"chr1", b"chr7"))
        path.with_name(f"{path.name}.sha256").unlink()
        read(path)  # a user's own


@pytest.mark.parametrize("seal", [[], "x", None, {}])
def test_checksums_of_another_type_are_refused(seal: object, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps({"steps": 3, "sha256": seal}))
    with pytest.raises(UserError, match=r"results\.json: its sha256 is not that of its values"):
        read_results(tmp_path / "results.json", "remove it")
