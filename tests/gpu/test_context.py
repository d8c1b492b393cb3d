"""A sequence on two GPUs (NCCL) of which one loses its process: `pytest -m gpu`, on a machine with two."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY
from tests.processes import Command
from tests.test_command_line import wait_for_step
from tests.test_many_processes import check_lost

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]


def child_of(process: int) -> int:
    """The process that Lightning has started as the second of the run."""
    found = [
        int(child)
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if b"dnamamba" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("chunk", ["null", "8"])
def test_other_process_ends_in_one_line_when_one_dies(chunk: str, tmp_path: Path, genome: Path) -> None:
    folder = tmp_path / "run"
    process = Command(
        "dnamamba.pretrain",
        *TINY,
        f"data.fasta={genome}",
        "data.valid=[two]",
        "data.test=[three]",
        "trainer=context",
        "train.max_steps=1000000",
        "train.checkpoint_every=20",
        f"train.chunk_bases={chunk}",
        f"hydra.run.dir={folder}",
        new_session=True,
    )
    try:
        wait_for_step(process, folder, 20)
        os.kill(child_of(process.pid), signal.SIGKILL)
        began = time.monotonic()
        _, errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1, errors
    check_lost(errors, folder)
    assert time.monotonic() - began < 60
