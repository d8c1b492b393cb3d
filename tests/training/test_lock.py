"""One run at a time writes a folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from dnamamba import UserError
from dnamamba.commands.pretrain import pretrain
from tests import processes
from tests.conftest import TINY

HOLD = (
    "import pathlib, sys; from dnamamba.files import locked\n"
    "with locked(pathlib.Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
)


def test_a_folder_of_a_living_run_is_refused(tiny: Callable[..., DictConfig], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match=r"run: another run is writing here; wait for its end"):
            pretrain(tiny("train.max_steps=1"), folder)
        assert os.listdir(folder) == [".lock"]
        other.kill()
    pretrain(tiny("train.max_steps=1"), folder)  # the lock of a process that was killed holds nobody up
    assert (folder / "results.json").is_file()
    assert not (folder / ".lock").exists()


def test_a_refused_run_leaves_no_folder(tiny: Callable[..., DictConfig], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        pretrain(tiny("ckpt_path=nowhere.ckpt"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_refused_command_leaves_first_ones_notes(genome: Path, tmp_path: Path) -> None:
    """What Hydra keeps of a command line, in `.hydra`, is the first's."""
    own = (f"data.fasta={genome}", "data.valid=[]", "data.test=[]", "hydra.run.dir=run")
    first = processes.run("dnamamba.pretrain", *TINY, *own, "train.max_steps=1", folder=tmp_path)
    assert first.returncode == 0
    notes = {path.name: path.read_bytes() for path in (tmp_path / "run" / ".hydra").iterdir()}
    assert set(notes) == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert notes["overrides.yaml"].endswith(b"\n- train.max_steps=1\n")
    second = processes.run("dnamamba.pretrain", *TINY, *own, "train.max_steps=2", folder=tmp_path)
    assert second.returncode == 1
    assert "run holds a run already" in second.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "run" / ".hydra").iterdir()} == notes
