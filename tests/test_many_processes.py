"""Runs of two processes (gloo, on the CPU): the same samples, the same losses, one folder, stopped as one.

Runs compared with one process cross every border in 15 steps: two of length, two of validation,
four micro-batches a step. Those that are stopped take 60, so that a stop falls into each stage.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dnamamba import load
from dnamamba.reports.figures import read_metrics
from tests import processes
from tests.conftest import TINY
from tests.processes import Command
from tests.test_command_line import run, wait_for_step, weights
from tests.test_stages import fake_scontrol

PRETRAIN = "dnamamba.pretrain"
LENGTHS = [8] * 20 + [16] * 20 + [32] * 20
SHORT = ("train.max_steps=15", "data.length_warmup.steps=5", "train.validate_every=6")
SELDOM = "train.checkpoint_every=60"  # nobody stops these


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Of a run of three stages of 20 steps, four micro-batches a step."""
    base = tmp_path_factory.mktemp("genome")
    letters = np.random.default_rng(5).choice(list("ACGT"), 3_000)
    letters[100:130] = "N"
    (base / "g.fa").write_text(f">one\n{''.join(letters[:2000])}\n>two\n{''.join(letters[2000:])}\n")
    (base / "i.bed").write_text("one\t0\t1024\ttrain\ntwo\t0\t400\tvalid\ntwo\t500\t900\ttest\n")
    return (
        "data=hg38",
        *TINY,
        f"data.fasta={base / 'g.fa'}",
        f"data.intervals={base / 'i.bed'}",
        "train.global_batch_size=16",
        "train.max_steps=60",
        "train.validate_every=25",
        "data.valid_windows=9",
        "data.length_warmup.first_length=8",
        "data.length_warmup.steps=20",
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, overrides: tuple[str, ...]) -> Path:
    """The folder of one process."""
    base = tmp_path_factory.mktemp("alone")
    done = run(base, *overrides, *SHORT, SELDOM, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return base / "run"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, overrides: tuple[str, ...]) -> Path:
    """The folder of two processes that nothing interrupts."""
    return run_two(tmp_path_factory.mktemp("together"), overrides, "ddp")


def run_two(base: Path, overrides: tuple[str, ...], strategy: str, *more: str) -> Path:
    own = (*overrides, SELDOM, "hydra.run.dir=run", *more)
    done = processes.run_two(PRETRAIN, *own, folder=base, strategy=strategy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("results    ") == 1
    return base / "run"


def column(folder: Path, name: str) -> list[float]:
    return [row[name] for row in read_metrics(folder / "metrics.csv") if name in row]


def check_same(found: Path, expected: Path) -> None:
    assert column(found, "train/length") == LENGTHS[::4]
    for name in ("train/loss", "val/bits_per_base", "test/bits_per_base"):
        assert column(found, name) == pytest.approx(column(expected, name), rel=1e-5), name
    weights = load(found).state_dict()
    for name, tensor in load(expected).state_dict().items():
        assert weights[name].numpy() == pytest.approx(tensor.numpy(), abs=1e-4), name


def test_two_processes_train_as_one_does(alone: Path, overrides: tuple[str, ...], tmp_path: Path) -> None:
    """One process takes four micro-batches a step, two take two each; SLURM starts them."""
    check_same(run_two(tmp_path, overrides, "ddp", *SHORT), alone)


def test_fsdp_of_two_processes_trains_as_one_does(
    alone: Path, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    check_same(run_two(tmp_path, overrides, "fsdp", *SHORT), alone)


CONTEXT = ("trainer=context", "trainer.accelerator=cpu", "trainer.precision=32-true")


@pytest.mark.parametrize("chunk", ["null", "6"])
def test_context_of_two_processes_trains_as_one_does(
    chunk: str, alone: Path, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    check_same(run_two(tmp_path, overrides, "ddp", *SHORT, *CONTEXT, f"train.chunk_bases={chunk}"), alone)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_chunks_of_two_processes_train_as_one_does(
    strategy: str, alone: Path, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    check_same(run_two(tmp_path, overrides, strategy, *SHORT, "train.chunk_bases=24"), alone)


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", PRETRAIN)


def test_processes_without_a_common_folder_are_refused(tmp_path: Path) -> None:
    environment = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
    done = processes.run(PRETRAIN, folder=tmp_path, environment=environment)
    assert done.returncode == 1
    assert "2 processes of one run need one folder: set hydra.run.dir=<folder>" in done.stderr
    assert not list(tmp_path.iterdir())


TWO = ("trainer.devices=2", "trainer.strategy=ddp", "ckpt_path=auto")

Start = Callable[..., Command]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process in a group of its own; what a failed test leaves is killed."""
    started: list[Command] = []

    def started_process(*arguments: str, **environment: str) -> Command:
        process = Command(*arguments, environment=environment, new_session=True)
        started.append(process)
        return process

    yield started_process
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            print(process.args, process.communicate()[1])


def srun(start: Start, *overrides: str) -> list[Command]:
    """Two processes as SLURM starts them."""
    port = processes.free_port()
    return [start(PRETRAIN, *overrides, **processes.slurm(rank, port)) for rank in range(2)]


def test_two_processes_killed_in_any_stage_resume_exactly(
    overrides: tuple[str, ...],
    together: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Start,
) -> None:
    """One run, of 20 steps a stage: SIGTERM to Lightning's processes, to torchrun's, and SLURM's SIGUSR1.

    And SIGKILL to srun's second process, and to Lightning's first: the other ends by itself.
    """
    monkeypatch.chdir(tmp_path)
    asked = fake_scontrol(tmp_path, monkeypatch)
    folder = tmp_path / "stopped"
    settings = (*overrides, *TWO, f"hydra.run.dir={folder}")

    first, second = srun(start, *settings)
    wait_for_step(first, folder, 3)
    second.kill()
    check_lost(check_died(first, status=1), folder)
    assert check_died(second, status=-signal.SIGKILL) == ""

    process = start(PRETRAIN, *settings)
    wait_for_step(process, folder, 8)
    os.killpg(process.pid, signal.SIGTERM)
    status, errors = ended(process)
    assert status == 143
    assert errors.startswith("dnamamba: stopped by SIGTERM after step")
    assert errors.count("\n") == 1
    check_stopped(folder, range(8, 20))

    process = start(PRETRAIN, *settings)
    wait_for_step(process, folder, 21)
    process.kill()
    # What it says ends when its second process does, which has it from the first.
    check_lost(check_died(process, status=-signal.SIGKILL), folder)

    process = start(*TORCHRUN, *settings)
    wait_for_step(process, folder, 30)
    os.killpg(process.pid, signal.SIGTERM)  # torchrun passes it on: its processes are sent two
    status, errors = ended(process)
    assert status == 1  # torchrun's own, whatever its processes say
    assert errors.count("dnamamba: stopped by SIGTERM after step") == 1
    check_stopped(folder, range(30, 40))
    assert not asked.exists()

    first, second = srun(start, *settings)
    wait_for_step(first, folder, 43)
    second.send_signal(signal.SIGUSR1)
    time.sleep(0.3)  # the first hears of it when both have stopped, or are about to
    first.send_signal(signal.SIGUSR1)
    status, errors = ended(first)
    assert status == 138
    assert errors.endswith("last.ckpt; SLURM job 4711 is queued again\n"), errors
    assert ended(second) == (0, "")  # a status that is not 0 would have its launcher kill the first
    check_stopped(folder, range(43, 60))
    assert asked.read_text() == "requeue 4711\n"

    resume(srun(start, *settings), folder, together)
    assert {path.name for path in tmp_path.iterdir()} == {"stopped", "bin", "asked"}


def resume(started: list[Command], folder: Path, expected: Path) -> None:
    """These end the run in `folder` with the weights and the losses of the expected one, bit for bit."""
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    found = weights(folder)
    for name, tensor in weights(expected).items():
        assert torch.equal(found[name], tensor), name
    assert column(folder, "train/length") == LENGTHS
    for name in ("train/loss", "val/bits_per_base", "test/bits_per_base"):
        assert column(folder, name) == column(expected, name), name


def check_died(process: Command, status: int) -> str:
    found, errors = ended(process)
    assert found == status, errors
    return errors


def check_lost(errors: str, folder: Path) -> None:
    """One line, which names the checkpoint to resume from."""
    assert re.fullmatch(
        r"dnamamba: error: trainer: another process of the run ended, killed or out of memory "
        rf"\(got [\w ]+\); resume with ckpt_path={folder}/checkpoints/last.ckpt\n",
        errors,
    ), errors


def ended(process: Command) -> tuple[int | None, str]:
    """The status and the last words of a process that ends by itself, on a busy machine within a minute."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def check_stopped(folder: Path, steps: range) -> None:
    """One checkpoint, of one of these steps, and nothing half-written or finished next to it."""
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] in steps
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith(".hydra/")} == {
        "checkpoints/last.ckpt",
        "checkpoints/last.ckpt.rows.json",
        "config.yaml",
        "metrics.csv",
    }
