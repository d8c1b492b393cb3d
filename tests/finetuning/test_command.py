"""`python -m dnamamba.finetune` as typed: exit codes, one line a mistake, two processes, predictions."""

import csv
import subprocess
from pathlib import Path

import pytest

from dnamamba.reports.figures import read_metrics
from tests import processes
from tests.finetuning.conftest import SHORT, write_table

RUNS = Path("logs/finetune/runs")
CPU = ("trainer.accelerator=cpu", "trainer.precision=32-true")


def run(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    return processes.run("dnamamba.finetune", *overrides, folder=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    write_table(path / "t.csv")
    return path


def predictions(folder: Path) -> dict[str, float]:
    with (folder / "predictions.tsv").open(newline="") as file:
        return {row["id"]: float(row["p_at"]) for row in csv.DictReader(file, delimiter="\t")}


def test_a_mistake_is_one_line_and_leaves_nothing(folder: Path) -> None:
    done = run(folder, "data.table=absent.csv")
    assert done.returncode == 1
    assert done.stderr == "dnamamba: error: data.table: no such file, absent.csv; did you mean t.csv?\n"
    assert not (folder / "logs").exists() or not [p for p in (folder / "logs").rglob("*") if p.is_file()]


def losses(folder: Path) -> list[float]:
    """Of every step, and of every held-out split."""
    rows = read_metrics(folder / "metrics.csv")
    return [row[name] for name in ("train/loss", "val/loss", "test/loss") for row in rows if name in row]


def test_two_processes_equal_one_and_run_labels_sequences(folder: Path) -> None:
    """Trained by one process and by two: the same predictions, up to the order of sums."""
    own = (*SHORT, "data.table=t.csv")
    done = run(folder, *own)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (made,) = (folder / RUNS).iterdir()
    for name in ("model", "metrics.json", "predictions.tsv", "confusion_matrix.png", "learning_curve.png"):
        assert str(made / name) in done.stdout
    expected = predictions(folder / made)
    for name in ("ddp", "fsdp"):
        given = (*own, f"trainer={name}", *CPU, f"hydra.run.dir={name}")
        done = processes.run_two("dnamamba.finetune", *given, folder=folder, strategy=name)
        assert done.returncode == 0, done.stderr
        assert losses(folder / name) == pytest.approx(losses(folder / made), rel=1e-4)
        assert predictions(folder / name) == pytest.approx(expected, abs=2e-3)

    rows = (folder / "t.csv").read_text().splitlines()[1:]
    records = (row.split(",") for row in rows)
    (folder / "new.fa").write_text("".join(f">{name}\n{bases}\n" for name, bases, *_ in records))
    done = run(folder, "mode=predict", f"model={made}", "data.fasta=new.fa", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    found = predictions(folder / "out")
    assert len(found) == len(rows)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
