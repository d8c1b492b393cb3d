"""A port of the first machine that can't be one, or that another program has; and a full standard output."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.conftest import TINY


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ("x", "MASTER_PORT: must be a port, 1 to 65535 (got 'x')"),
        ("99999", "MASTER_PORT: must be a port, 1 to 65535 (got '99999')"),
        (None, "MASTER_PORT: can't be listened at ("),
    ],
)
def test_a_port_that_cannot_be_used_is_one_line(
    port: str | None, said: str, genome: Path, tmp_path: Path
) -> None:
    own = (f"data.fasta={genome}", "data.valid=[]", "data.test=[]", "hydra.run.dir=run", "trainer=ddp")
    own += (
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.num_nodes=2",
        "trainer.precision=32-true",
    )
    own += ("data.batch_size=1", "train.global_batch_size=2")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port or str(taken.getsockname()[1])}
        done = processes.run("dnamamba.pretrain", *TINY, *own, folder=tmp_path, environment=place)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["info"], ["embed", "--help"]])
def test_a_full_standard_output_is_one_line(arguments: list[str], tmp_path: Path) -> None:

    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "dnamamba", *arguments]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path
        )
    assert done.returncode == 1
    assert done.stderr == "dnamamba: error: standard output: No space left on device\n"
