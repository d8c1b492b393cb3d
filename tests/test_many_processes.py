"""Runs of two processes (gloo, on the CPU): the same samples, the same losses, one folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnamamba import load
from dnamamba.figures import read_metrics
from tests.conftest import TINY
from tests.test_command_line import command, run


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, ...], Path]:
    """Overrides of a run of three stages, four micro-batches a step, and the folder of one process."""
    base = tmp_path_factory.mktemp("alone")
    letters = np.random.default_rng(5).choice(list("ACGT"), 3_000)
    letters[100:130] = "N"
    (base / "g.fa").write_text(f">one\n{''.join(letters[:2000])}\n>two\n{''.join(letters[2000:])}\n")
    (base / "i.bed").write_text("one\t0\t1024\ttrain\ntwo\t0\t400\tvalid\ntwo\t500\t900\ttest\n")
    overrides = (
        "data=hg38",
        *TINY,
        f"data.fasta={base / 'g.fa'}",
        f"data.intervals={base / 'i.bed'}",
        "train.global_batch_size=16",
        "train.max_steps=9",
        "data.valid_windows=9",
        "data.length_warmup.first_length=8",
        "data.length_warmup.steps=3",
    )
    done = run(base, *overrides, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return overrides, base / "run"


def column(folder: Path, name: str) -> list[float]:
    return [row[name] for row in read_metrics(folder / "metrics.csv") if name in row]


def check_same(found: Path, expected: Path) -> None:
    assert column(found, "train/length") == [8, 8, 8, 16, 16, 16, 32, 32, 32]
    for name in ("train/loss", "val/bits_per_base", "test/bits_per_base"):
        assert column(found, name) == pytest.approx(column(expected, name), rel=1e-5), name
    weights = load(found).state_dict()
    for name, tensor in load(expected).state_dict().items():
        assert weights[name].numpy() == pytest.approx(tensor.numpy(), abs=1e-4), name


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_as_one_does(
    alone: tuple[tuple[str, ...], Path], tmp_path: Path, strategy: str
) -> None:
    """One process takes four micro-batches a step, two take two each; started by Lightning."""
    overrides, expected = alone
    done = run(tmp_path, *overrides, "trainer.devices=2", f"trainer.strategy={strategy}")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "logs/pretrain/runs").iterdir()
    check_same(folder, expected)
    assert done.stdout.count("results    ") == 1


def torchrun(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "dnamamba.pretrain"]
    both = [*overrides, "trainer.devices=2", "trainer.strategy=ddp"]
    return subprocess.run(
        [sys.executable, "-m", *launcher, *both], cwd=folder, capture_output=True, text=True, check=False
    )


def test_torchrun_in_one_folder_stopped_and_gone_on_with(
    alone: tuple[tuple[str, ...], Path], tmp_path: Path
) -> None:
    overrides, _ = alone
    where = ("hydra.run.dir=mine", "ckpt_path=auto")
    done = torchrun(tmp_path, *overrides, *where, "train.max_steps=5", "train.warmup_fraction=0")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    again = torchrun(tmp_path, *overrides, *where, "train.max_steps=9", "train.warmup_fraction=0")
    assert again.returncode == 0, again.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert [
        row["step"] for row in read_metrics(tmp_path / "mine/metrics.csv") if "train/loss" in row
    ] == list(range(9))


def test_processes_without_a_common_folder_are_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
    done = subprocess.run(
        command(), cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert "2 processes of one run need one folder: set hydra.run.dir=<folder>" in done.stderr
    assert not list(tmp_path.iterdir())
