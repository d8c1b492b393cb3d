"""Too little memory, disk or shared memory, and devices that are not there, are one line."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from dnamamba import UserError
from dnamamba.commands.pretrain import pretrain
from dnamamba.shortages import shortage
from tests import processes


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception, match=r".") as caught:  # of the libraries' types
        call()
    return caught.value


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: torch.empty(1 << 50), "you tried to allocate 4503599627370496 bytes"),
        (lambda: np.empty(1 << 55), "Unable to allocate 256. PiB"),
        (
            lambda: (_ for _ in ()).throw(OSError(errno.ENOMEM, "Cannot allocate memory")),
            "Cannot allocate memory",
        ),
    ],
)
def test_every_library_says_too_little_memory(call: Callable[[], object], words: str) -> None:
    line = shortage(raised(call))
    assert line is not None
    assert line.startswith("too little memory (")
    assert words in line


def test_error_hidden_behind_another_is_found() -> None:
    def loader() -> None:
        try:
            raise RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. ... shared memory (shm)"
            )
        finally:
            raise RuntimeError("Please call `iter(combined_loader)` first.")

    line = shortage(raised(loader))
    assert line is not None
    assert "set data.num_workers=0" in line
    assert shortage(raised(lambda: {}["a"])) is None
    assert shortage(OSError(errno.ENOSPC, "No space left on device")) is None  # a full disk is another matter


class Killed(torch.utils.data.Dataset):
    """Its loader process is killed, as the system kills one where memory is short."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_loader_process_that_was_killed_is_one_line() -> None:
    loader = torch.utils.data.DataLoader(Killed(), num_workers=1, multiprocessing_context="fork")
    line = shortage(raised(lambda: list(loader)))
    assert line is not None
    assert line.startswith(
        "data.num_workers: a process that loads data was ended from outside (DataLoader worker"
    )
    assert "set fewer" in line


def test_checkpoint_on_full_disk_is_one_line(
    tiny: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.save

    def full(checkpoint: dict, file: object) -> None:
        if checkpoint["global_step"] == 3:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0\nmore")
        plain(checkpoint, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        UserError, match=r"can't write the checkpoint .*next.ckpt \(\[enforce .* is the disk full\?"
    ):
        pretrain(tiny(), tmp_path / "run")
    (last,) = (tmp_path / "run" / "checkpoints").glob("*.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.precision=transformer-engine", r"^trainer: "),
        ("trainer.accelerator=tpu", r"^trainer: "),
        ("trainer.strategy=ddp_notebook", r"^trainer.strategy=ddp_notebook trains in forked or spawned"),
        ("trainer.strategy=ddp_spawn", r"^trainer.strategy=ddp_spawn trains in forked or spawned"),
    ],
)
def test_missing_devices_and_strategies_are_refused(
    tiny: Callable[..., DictConfig], tmp_path: Path, setting: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        pretrain(tiny(setting), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_command_without_memory_ends_in_one_line(genome: Path, tmp_path: Path) -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "from dnamamba.pretrain import main; sys.argv[0] = 'dnamamba-pretrain'; main()"
    )
    found = processes.run(
        *("-c", program, f"data.fasta={genome}", "data.valid=[two]", "data.test=[three]"),
        *("model.d_model=100000", "model.n_layer=1", f"hydra.run.dir={tmp_path / 'run'}"),
    )
    assert found.returncode == 1
    assert found.stderr.startswith("dnamamba: error: too little memory (")
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
