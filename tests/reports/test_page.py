"""`dnamamba report`: a run's folder as one HTML page."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dnamamba.commands.report import ReportConfig, report_to_file
from dnamamba.errors import UserError
from dnamamba.reports.page import calibration, page
from tests.training.test_lock import HOLD

PIXEL = b"the bytes of a picture"
METRICS = {
    "task": "classification",
    "labels": ["<b>a", "b"],
    "verdict": "accuracy: the model & 3-mers do not differ",
    "valid": {"accuracy": {"value": 0.5}},
    "test": {"examples": 4, "accuracy": {"value": 0.75, "low": 0.25, "high": 1.0}},
    "baselines": {"3-mer logistic": {"test": {"accuracy": {"value": None}}}},
    "data": {"summary": "8 sequences", "notes": ["  train: <b>a 4"]},
}


class Cells(HTMLParser):
    """The texts of table cells, row by row, and the tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.inside = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a fine-tuning, with names that a browser would obey."""
    folder = tmp_path / "run <b>"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "config.yaml").write_text("data:\n  fasta: a&b.fa\n  valid: [chrV]\n")
    (folder / "confusion_matrix.png").write_bytes(PIXEL)
    rows = ["id\tsplit\tlabel\tpredicted\tp_a\tp_b", "1\tvalid\ta\tb\t0.1\t0.9"]
    rows += ["2\ttest\ta\ta\t0.92\t0.08", "3\ttest\tb\ta\t0.98\t0.02", "4\ttest\tb\tb\t0.375\t0.625"]
    (folder / "predictions.tsv").write_text("\n".join([*rows, ""]))
    return folder


def test_page_shows_verdict_metrics_and_settings(run: Path) -> None:
    text = page(run)
    found = Cells(text)
    assert "the model &amp; 3-mers do not differ" in text
    assert found.rows[:3] == [
        ["", "accuracy"],
        ["model", "0.7500 (0.2500 to 1.0000)"],
        ["3-mer logistic", "-"],
    ]
    assert ["labels", '["<b>a", "b"]'] in found.rows
    assert ["data.fasta", "a&b.fa"] in found.rows
    assert ["data.valid", '["chrV"]'] in found.rows


def test_page_needs_no_other_file_and_obeys_no_name(run: Path) -> None:
    found = Cells(page(run))
    assert not found.tags & {"script", "b", "link", "iframe"}
    assert len(found.addresses) == 2  # the picture and the calibration
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert base64.b64decode(found.addresses[0].partition(",")[2]) == PIXEL


def test_calibration_is_that_of_the_test_split(run: Path) -> None:
    assert calibration(run / "predictions.tsv") == [(0.625, 1.0, 1), (pytest.approx(0.95), 0.5, 2)]


def test_calibration_of_numbers_is_none(tmp_path: Path) -> None:
    table = tmp_path / "predictions.tsv"
    table.write_text("id\tsplit\tlabel\tpredicted\n1\ttest\t1.5\t1.25\n")
    assert calibration(table) == []
    assert calibration(tmp_path / "none.tsv") == []


def test_page_of_a_pretraining_compares_with_markov_models(tmp_path: Path) -> None:
    results = {"bits_per_base": {"valid": 1.9, "test": 1.875}}
    results["markov_bits_per_base"] = {"valid": {"0": 2.0, "10": 1.95}, "test": {"0": 1.96, "10": 1.5}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert Cells(page(tmp_path)).rows[:4] == [
        ["", "valid", "test"],
        ["model", "1.9000", "1.8750"],
        ["Markov, order 0", "2.0000", "1.9600"],
        ["Markov, order 10", "1.9500", "1.5000"],
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"run: .* is not the folder of a pretraining or a fine-tuning; name one"),
        ({"metrics.csv": "step\n"}, r"run: .* is not finished; resume it with ckpt_path="),
        ({"results.json": '{"a": '}, r"results\.json: damaged \(.*\); remove it"),
        ({"results.json": "[1]"}, r"results\.json: expected a JSON object \(got list\); remove it"),
        (
            {"results.json": '{"bits_per_base": 3}'},
            r"results\.json: not as dnamamba writes it \(Attr.*; remove",
        ),
        ({"metrics.json": '{"test": [1]}'}, r"metrics\.json: not as dnamamba writes it \(Attr.*; remove it"),
        (
            {"metrics.json": "{}", "predictions.tsv": "split\tlabel\tpredicted\tp_a\ntest\ta\ta\tinf\n"},
            r"predictions\.tsv, row 2: damaged \(probability inf\); remove it",
        ),
        (
            {"metrics.json": "{}", "predictions.tsv": "split\tlabel\tpredicted\tp_a\ntest\ta\ta\tx\n"},
            r"predictions\.tsv, row 2: damaged \(could not convert.*\); remove it",
        ),
        ({"results.json": "{}", "config.yaml": "a: &a [*a]"}, r"config\.yaml: \*a holds itself"),
        ({"results.json": "{}", "config.yaml": "a: [\x07"}, r"config\.yaml: damaged \(.*\); remove it"),
    ],
)
def test_folders_without_results_are_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        report_to_file(ReportConfig(str(tmp_path)))
    assert not (tmp_path / "report.html").exists()


def test_page_is_written_into_the_folder_and_replaced_on_demand(run: Path) -> None:
    report_to_file(ReportConfig(str(run)))
    assert (run / "report.html").read_text("utf-8") == page(run)
    with pytest.raises(UserError, match="overwrite=true"):
        report_to_file(ReportConfig(str(run)))
    report_to_file(ReportConfig(str(run), overwrite=True))
    with pytest.raises(UserError, match=re.escape("ends in .html")):
        report_to_file(ReportConfig(str(run), out=str(run / "page.pdf")))


def test_nothing_in_a_page_is_obeyed(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[1m"
    scores = {"test": {evil: {"value": 1.0, "low": None, "high": None}}}
    results = {"task": evil, "verdict": evil, "baselines": {evil: scores}, "chosen": [evil], evil: evil}
    results |= {"data": {"summary": evil, "notes": [evil]}, **scores}
    folder = tmp_path / "<script>"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(json.dumps({evil: [evil]}))
    found = page(folder)
    assert "<script" not in found
    assert "\x1b" not in found
    assert found.count("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[1m") >= 10


def test_a_run_in_training_is_named(tmp_path: Path) -> None:
    """Not as one to resume, which its lock would refuse."""
    (tmp_path / "metrics.csv").write_text("step\n")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match=r"is not finished: a process is training in it now; wait"):
            page(tmp_path)
        other.kill()
    with pytest.raises(UserError, match="is not finished; resume it"):  # what a kill left of the lock
        page(tmp_path)
