"""A run that is asked to end before its processes are there, by its terminal, or by who reads its output."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from dnamamba.commands.pretrain import pretrain
from dnamamba.errors import LEFT_ALONE, Interrupted
from dnamamba.objectives.next_base import NextBase
from tests.processes import Command

TINY = (
    "model.d_model=8",
    "model.n_layer=1",
    "data.max_length=32",
    "data.batch_size=2",
    "data.valid_windows=4",
    "data.markov_orders=[]",
    "train.global_batch_size=4",
    "train.max_steps=100000",
    "train.validate_every=100000",
    "train.checkpoint_every=100000",
    "train.log_every=1",
)


def start(genome: Path, folder: Path, stdout: int, *more: str) -> Command:
    held_out = ("data.valid=[two]", "data.test=[three]", f"hydra.run.dir={folder}")
    return Command("dnamamba.pretrain", f"data.fasta={genome}", *TINY, *more, *held_out, stdout=stdout)


def wait_for(path: Path, text: str = "") -> None:
    for _ in range(600):
        if path.is_file() and text in path.read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"{path} never came")


def test_absent_machine_is_named_and_not_awaited(genome: Path, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        run = start(genome, tmp_path / "run", out.fileno(), "trainer.num_nodes=2")
    wait_for(tmp_path / "out", "waiting for 1 other machine(s) at 127.0.0.1:")
    time.sleep(0.5)  # until it waits, which it says before
    run.send_signal(signal.SIGTERM)
    error = run.communicate()[1]
    assert run.returncode == 143
    assert "stopped by SIGTERM before every process was there" in error
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_closed_output_leaves_a_checkpoint(genome: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    last = folder / "checkpoints" / "last.ckpt"
    reader, writer = os.pipe()
    run = start(genome, folder, writer, "train.max_steps=1000")
    os.close(writer)
    wait_for(folder / "metrics.csv", "\n0,3")
    os.close(reader)  # the next line that it prints, every 100 steps, finds no reader
    error = run.communicate()[1]
    assert run.returncode == 128 + signal.SIGHUP
    steps = torch.load(last, weights_only=True)["global_step"]
    assert f"stopped by SIGHUP after step {steps:,}; resume with ckpt_path={last}" in error
    assert 0 < steps < 1000
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert rows[-1].split(",")[1] == str(steps - 1)


@pytest.mark.parametrize(
    ("number", "own", "steps"),
    [(number, signal.SIG_DFL, 2) for number in LEFT_ALONE]
    + [(signal.SIGHUP, signal.SIG_IGN, 6), (signal.SIGALRM, lambda number, frame: None, 6)],
)
def test_stop_signal_leaves_a_checkpoint_unless_taken(
    tiny: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    own: Any,
    steps: int,
) -> None:
    """A closed terminal's, but not under nohup; batch systems'; but no alarm of a program's own."""
    plain = NextBase.loss_sum

    def hung_up(*arguments: Any) -> Any:
        if (tmp_path / "run" / "metrics.csv").exists():  # from the second step on
            signal.raise_signal(number)
        return plain(*arguments)

    monkeypatch.setattr(NextBase, "loss_sum", hung_up)
    before = signal.signal(number, own)
    stops = pytest.raises(Interrupted, match=f"stopped by {number.name} after step 2")
    try:
        with stops if own == signal.SIG_DFL else nullcontext():
            pretrain(tiny(), tmp_path / "run")
        assert signal.getsignal(number) == own
    finally:
        signal.signal(number, before)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == steps
