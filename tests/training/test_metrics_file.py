"""metrics.csv is whole at every moment: the earlier run's rows, or these."""

import os
import signal
import sys
from pathlib import Path

import pytest

from dnamamba import UserError
from dnamamba.reports.figures import read_metrics
from dnamamba.training.metrics_file import MetricsFile
from dnamamba.training.resume import Resumed


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
