"""What a sweep ends with, and what its jobs give to Hydra."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dnamamba.commands import sweep
from dnamamba.commands.mistakes import one_line
from dnamamba.commands.sweep import FILE, Headline, Sweep, finished, note, report
from dnamamba.config import composed
from dnamamba.files import locked
from tests import processes
from tests.conftest import TINY
from tests.training.test_lock import HOLD


def job(folder: Path, number: int, value: float, *overrides: str, lower: bool = False) -> None:
    home = folder / str(number)
    (home / ".hydra").mkdir(parents=True)
    (home / ".hydra" / "overrides.yaml").write_text(json.dumps(list(overrides)))
    (home / ".hydra" / "hydra.yaml").write_text(f"hydra: {{job: {{num: {number}}}}}\n")
    (home / FILE).write_text(json.dumps(Headline("accuracy", value, lower)._asdict()))


@pytest.mark.parametrize(("lower", "order"), [(False, [10, 2, 0, 1]), (True, [0, 2, 10, 1])])
def test_jobs_are_sorted_by_headline_with_nan_last(tmp_path: Path, lower: bool, order: list[int]) -> None:
    for number, value in ((0, 0.1), (1, math.nan), (2, 0.5), (10, 0.9)):
        job(tmp_path, number, value, "a=1", lower=lower)
    assert [each.number for each in finished(tmp_path)] == order


def test_a_table_has_what_was_swept_as_it_was_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path, 0, 0.5, "model={_path_: 'runs/a'}", "data.table='x.csv'", "train.seed=3")
    job(tmp_path, 1, 0.75, "model={_path_: 'runs/b'}", "data.table='x.csv'", "train.seed=3")
    overrides = {"task": ["model={_path_: 'runs/a'},{_path_: 'runs/b'}", "train.seed=3,4"]}
    config = {"hydra": {"sweep": {"dir": str(tmp_path)}, "overrides": overrides}}
    Sweep().on_multirun_start(OmegaConf.create(config))
    report()
    assert (tmp_path / "sweep.tsv").read_text() == (
        "rank\tjob\tmodel\ttrain.seed\taccuracy\tfolder\n1\t1\truns/b\t3\t0.75\t1\n2\t0\truns/a\t3\t0.5\t0\n"
    )
    assert "accuracy on validation (higher is better)" in capsys.readouterr().out
    report()
    assert not capsys.readouterr().out, "a sweep is reported once"


def test_the_number_goes_to_hydra_and_into_the_jobs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OmegaConf.create({"mode": "MULTIRUN", "runtime": {"output_dir": str(tmp_path)}})
    config.mode = sweep.RunMode.MULTIRUN
    monkeypatch.setattr(sweep.HydraConfig, "get", lambda: config)
    assert note(Headline("pearson", 0.25, lower_is_better=False)) == 0.25
    written = json.loads((tmp_path / FILE).read_text())
    assert written.pop("sha256").keys() == {FILE}
    assert written == {"name": "pearson", "value": 0.25, "lower_is_better": False}
    assert note(None) is None


@pytest.mark.parametrize("value", [0.25, math.nan])
def test_a_headline_with_one_digit_changed_is_left_out(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path, 0, 0.5)
    job(tmp_path, 1, 0.75)
    path = tmp_path / "1" / FILE
    config = OmegaConf.create({"runtime": {"output_dir": str(path.parent)}})
    config.mode = sweep.RunMode.MULTIRUN
    monkeypatch.setattr(sweep.HydraConfig, "get", lambda: config)
    note(Headline("accuracy", value, lower_is_better=False))
    found = {each.number: each.headline.value for each in finished(tmp_path)}
    assert found == pytest.approx({0: 0.5, 1: value}, nan_ok=True)
    text = path.read_text()
    path.write_text(text.replace("0.25", "0.95").replace("null", "0.95"))
    assert path.read_text() != text
    assert [each.number for each in finished(tmp_path)] == [0]
    assert f"{path.parent}: damaged, left out (UserError: {path}: its sha256" in capsys.readouterr().err


def test_a_sweeper_that_is_not_installed_names_its_extra() -> None:
    with pytest.raises(Exception, match="optuna") as error:
        composed("pretrain", ["hydra/sweeper=optuna"])
    assert one_line(error.value).endswith("; pip install 'dnamamba[sweep]'")


@pytest.mark.parametrize("damage", ["[", "{}", '{"name": "a", "value": "x\\u001b", "lower_is_better": true}'])
def test_a_damaged_job_is_left_out_and_named(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path, 0, 0.5)
    job(tmp_path, 1, 0.75)
    job(tmp_path, 2, 0.25)
    (tmp_path / "1" / FILE).write_text(damage)
    (tmp_path / "2" / ".hydra" / "hydra.yaml").write_text("- 3\n")
    assert [each.number for each in finished(tmp_path)] == [0]
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" damaged, left out")[0] for line in said] == [
        f"dnamamba: {tmp_path / '1'}:",
        f"dnamamba: {tmp_path / '2'}:",
    ]
    assert "\x1b" not in "".join(said)


def test_a_folder_of_a_living_sweep_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": ["a=1,2"]}}})
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(SystemExit) as stop:  # Hydra would go on after any other exception
            Sweep().on_multirun_start(config)
        assert stop.value.code == 1
        other.kill()
    expected = f"{tmp_path}: another run is writing here; wait for its end, or choose another hydra.sweep.dir"
    assert capsys.readouterr().err == f"dnamamba: error: {expected}\n"
    assert Sweep.folder is None
    Sweep().on_multirun_start(config)
    assert (tmp_path / ".lock").is_file()
    report()
    assert not (tmp_path / ".lock").exists()


def test_a_second_sweep_changes_nothing_of_the_first(genome: Path, tmp_path: Path) -> None:
    own = (f"data.fasta={genome}", "data.valid=[]", "data.test=[]", "hydra.sweep.dir=sweep", "-m")
    with locked(tmp_path / "sweep"):
        second = processes.run("dnamamba.pretrain", *TINY, *own, "train.seed=1,2", folder=tmp_path)
        assert os.listdir(tmp_path / "sweep") == [".lock"]
    assert second.returncode == 1
    assert second.stderr.startswith(f"dnamamba: error: {tmp_path / 'sweep'}: another run is writing here;")
