"""metrics.csv is whole at every moment: the earlier run's rows, or these."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from dnamamba import UserError
from dnamamba.reports.figures import read_metrics
from dnamamba.training.metrics_file import MetricsFile
from dnamamba.training.resume import Resumed
from dnamamba.training.row_sums import SUMS, check_rows, note_rows, remains


def test_new_columns_and_rows_are_written(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path)
    for step, row in enumerate(({"b": 1.5}, {"b": 2.5}, {"a": 3.0})):
        log.log_metrics(row, step)
        log.save()
    assert (tmp_path / "metrics.csv").read_bytes() == b"a,b,step\r\n,1.5,0\r\n,2.5,1\r\n3.0,,2\r\n"
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_earlier_file_stays_until_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("a,step\n1.0,0\n")
    log = MetricsFile(tmp_path)
    log.log_metrics({"b": 2.0}, 0)
    assert read_metrics(path) == [{"a": 1.0, "step": 0}]
    log.save()
    assert read_metrics(path) == [{"b": 2.0, "step": 0}]


@pytest.mark.parametrize("moment", ["open", "os.rename"])
def test_kill_at_new_column_keeps_all_rows(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("a,step\n0.0,0\n")
    child = os.fork()
    if child == 0:
        log, armed = MetricsFile(tmp_path), [False]

        def hook(name: str, given: tuple[object, ...]) -> None:
            if armed[0] and name == moment and path.stat().st_size < 20:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        log.log_metrics({"a": 0.0}, 0)
        log.save()
        armed[0] = True
        log.log_metrics({"b": 1.0}, 1)
        log.save()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert read_metrics(path) == [{"a": 0.0, "step": 0}]


def test_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("a,step\n1.0,0\n2.0,1")
    assert read_metrics(tmp_path / "metrics.csv") == [{"a": 1.0, "step": 0}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"step,a\n0,1.5\n1,x\n", r"row 3: damaged \(could not convert string to float: 'x'\)"),
        (b"step,a\n0,1.5,2\n", r"row 2: damaged \(float\(\) argument"),
        (b"stop,a\n0,1.5\n", r"row 2: damaged \(no step\)"),
        (b"step,a\nnan,1.5\n", r"row 2: damaged \(step nan\)"),
        (b"step,a\n0,\xff\n", r"row 1: damaged \('utf-8' codec"),
        (b"step\n" + b"1" * 200_000 + b"\n", r"row 1: damaged \(field larger than field limit"),
    ],
)
def test_damaged_rows_are_named_when_resumed(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"metrics\.csv, {message}.*; mend it, or remove the file"):
        Resumed(tmp_path / "checkpoints" / "last.ckpt", 9, unvalidated=False, ended=False).metrics()


ROWS: list[dict[str, float]] = [
    {"train/loss": 1.25, "lr": 1e-3},
    {"val/loss": 1.5, "epoch": 0},
    {"train/loss": 0.1 + 0.2, "lr": float("nan")},
    {"val/loss": 1.0, "epoch": 1},
]
STEPS = (0, 1, 2, 3)  # the checkpoint is of 4


def logged(folder: Path, unvalidated: bool, later: int = 0) -> Resumed:
    """A run's folder: its rows, what its checkpoint knows of them, and rows that were logged after it."""
    log = MetricsFile(folder)
    for step, row in zip(STEPS, ROWS, strict=True):
        log.log_metrics(row, step)
        log.save()
    checkpoints = folder / "checkpoints"
    note_rows(checkpoints, 2, False, [])
    note_rows(
        checkpoints, 4, unvalidated, [row for row in log.experiment.kept if remains(row, 4, unvalidated)]
    )
    for number in range(later):
        log.log_metrics({"train/loss": 0.5}, 4 + number)
    log.save()
    return Resumed(checkpoints / "last.ckpt", 4, unvalidated=unvalidated, ended=False)


def refusal_or_rows(resumed: Resumed) -> str:
    try:
        return repr(resumed.metrics())
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("unvalidated", [False, True])
def test_any_flipped_bit_of_a_resumed_runs_rows_is_refused(unvalidated: bool, tmp_path: Path) -> None:
    resumed = logged(tmp_path, unvalidated)
    path = tmp_path / "metrics.csv"
    data, before = path.read_bytes(), resumed.metrics()
    assert [row["step"] for row in before] == [0, 1, 2, 3][: 3 if unvalidated else 4]
    told = repr(before)
    believed = 0
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        found = refusal_or_rows(resumed)
        # A bit that is believed is of no number that is kept: a line's end, a row that is done again.
        assert found == told or "metrics.csv" in found
        believed += found == told
    assert believed < len(data)
    path.write_bytes(data)
    assert repr(resumed.metrics()) == told


def test_rows_after_the_checkpoint_and_rows_without_checksums_pass(tmp_path: Path) -> None:
    resumed = logged(tmp_path, unvalidated=False, later=3)
    assert len(resumed.metrics()) == 4
    lines = (tmp_path / "metrics.csv").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.csv").write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(UserError, match=r"metrics\.csv: its first 4 rows are not as they were logged"):
        resumed.metrics()
    (tmp_path / "checkpoints" / SUMS).unlink()
    assert len(resumed.metrics()) == 3


def test_checksums_of_rows_keep_those_of_the_checkpoint_before(tmp_path: Path) -> None:
    def noted(steps: int, unvalidated: bool = False) -> list[str]:
        note_rows(tmp_path, steps, unvalidated, [])
        return list(json.loads((tmp_path / SUMS).read_text()))

    assert [noted(steps) for steps in (2, 4, 6)] == [["2"], ["2", "4"], ["4", "6"]]
    assert noted(5) == ["4", "5"]  # resumed from 4: what is beyond it is of no checkpoint
    assert noted(7, unvalidated=True) == ["5", "7 unvalidated"]
    assert noted(7) == ["7 unvalidated", "7"]  # killed before its name, the run resumes from the one before
    for damage in ("[]", "{", '{"x": 1}', '{"5 x": {}}', '{"5": {"rows": "y"}}', '{"5": []}'):
        (tmp_path / SUMS).write_text(damage)
        with pytest.raises(UserError, match=r"last\.ckpt\.rows\.json: .*remove it: the rows"):
            check_rows(tmp_path / "last.ckpt", 5, False, [], tmp_path / "metrics.csv")
