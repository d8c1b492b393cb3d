"""Runs whose windows grow: stages of random windows and of a BED file's intervals, and their resumption."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from dnamamba import UserError
from dnamamba.commands.pretrain import pretrain
from dnamamba.config import typed
from dnamamba.data.epochs import EpochWindows
from dnamamba.datasets.genome.config import GenomeConfig
from dnamamba.datasets.genome.data import GenomeData
from dnamamba.reports.figures import read_metrics
from tests.conftest import TINY
from tests.test_command_line import resume, run, stop

Configure = Callable[..., DictConfig]

# 32 windows of 8 bases, 16 of 16, 8 of 32: 256 bases per step and 128 a micro-batch throughout.
WARMUP = ("data.length_warmup.first_length=8", "data.length_warmup.steps=3")
BED = "one\t700\t1212\ttrain\none\t1212\t1724\ttrain\ntwo\t0\t500\tvalid\nthree\t0\t500\ttest\n"


@pytest.fixture
def bed(tmp_path: Path) -> Path:
    path = tmp_path / "intervals.bed"
    path.write_text(BED)
    return path


@pytest.fixture
def hg38(configure: Configure, genome: Path, bed: Path) -> Configure:
    """The tiny run, on the intervals of a BED file."""
    files = (f"data.fasta={genome}", f"data.intervals={bed}")
    return lambda *overrides: configure("data=hg38", *TINY, *files, *overrides)


def test_length_of_step_is_that_of_its_stage(tiny: Configure, tmp_path: Path) -> None:
    results = pretrain(tiny(*WARMUP, "train.max_steps=8"), tmp_path / "run")
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "train/loss" in row]
    assert [row["train/length"] for row in rows] == [8, 8, 8, 16, 16, 16, 32, 32]
    assert (results["steps"], results["bases"]) == (8, 8 * 256)


def test_steps_of_run_come_from_its_epochs(hg38: Configure, tmp_path: Path) -> None:
    """1,024 training bases are 4 steps, so that two epochs of three lengths are 24."""
    warmup = ("data.length_warmup.first_length=8", "data.length_warmup.epochs=2", "train.max_steps=null")
    results = pretrain(hg38(*warmup), tmp_path / "run")
    assert results["steps"] == 24
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "train/loss" in row]
    assert [row["train/length"] for row in rows] == [8] * 8 + [16] * 8 + [32] * 8


def genome_data(cfg: DictConfig) -> GenomeData:
    return GenomeData(
        typed(cfg.data, GenomeConfig, "data"),
        cfg.train.seed,
        global_batch_size=cfg.train.global_batch_size,
        max_steps=cfg.train.max_steps,
        world_size=1,
    )


def test_bed_epoch_reads_every_base_once_per_length(hg38: Configure) -> None:
    data = genome_data(
        hg38("data.length_warmup.first_length=8", "data.length_warmup.epochs=1", "train.max_steps=10")
    )
    assert [stage.steps for stage in data.schedule.stages] == [4, 4, 2]
    for windows in data.windows:
        assert isinstance(windows, EpochWindows)
        drawn = windows.draw(np.arange(windows.samples))
        targets = [
            base
            for start, size, strand in zip(drawn.start, drawn.length, drawn.strand, strict=True)
            for base in range(start + 1 - strand, start + size - strand)
        ]
        assert sorted(targets) == list(range(700, 1724))


def test_stages_of_equal_size_differ_in_order(hg38: Configure, bed: Path) -> None:
    bed.write_text("one\t700\t1212\ttrain\none\t2000\t2512\ttrain\ntwo\t0\t500\tvalid\nthree\t0\t500\ttest\n")
    long = ("data.max_length=2048", "data.length_warmup.first_length=1024", "data.length_warmup.steps=1")
    data = genome_data(hg38(*long, "data.edge=pad"))
    first, second = (windows.draw(np.arange(64)).strand.tolist() for windows in data.windows)
    assert first != second


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("one\t2900\t3001\ttrain\n", "row 5: one ends at 3,000 and the interval at 3,001"),
        ("four\t0\t100\ttrain\n", "row 5: no record 'four'"),
        ("two\t400\t600\ttrain\n", "row 5: two:400-600 is for train and shares bases with row 3"),
        ("one\t1\t2\tdev\n", "row 5: 'dev' is not a split"),
    ],
)
def test_bad_row_is_refused_before_the_run(
    hg38: Configure, bed: Path, tmp_path: Path, row: str, message: str
) -> None:
    bed.write_text(BED + row)
    with pytest.raises(UserError) as error:
        pretrain(hg38(), tmp_path / "run")
    assert f"{bed}, {message}" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_empty_split_or_other_assembly_ends_run_early(hg38: Configure, bed: Path, tmp_path: Path) -> None:
    bed.write_text(BED.replace("test", "valid"))
    with pytest.raises(UserError, match="no row of the split 'test', and 4 rows in all"):
        pretrain(hg38(), tmp_path / "run")
    bed.write_text(BED.replace("one", "chr1").replace("two", "chr2"))
    with pytest.raises(UserError, match="is of another assembly than the FASTA, or names it otherwise: 2 of"):
        pretrain(hg38(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_micro_batches_change_nothing_but_rounding(tiny: Configure, tmp_path: Path) -> None:
    """N included: the loss is a mean over the targets of the step, however it is cut."""
    losses = []
    for batch_size in (8, 1):
        folder = tmp_path / str(batch_size)
        pretrain(tiny(*WARMUP, f"data.batch_size={batch_size}", "train.max_steps=8"), folder)
        losses.append(
            [row["train/loss"] for row in read_metrics(folder / "metrics.csv") if "train/loss" in row]
        )
    assert losses[0] == pytest.approx(losses[1], rel=2e-5)


@pytest.fixture(scope="module")
def staged_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, ...], Path]:
    """Overrides of a run of stages of 40, 40 and 40 steps, and its folder when nothing interrupts it."""
    base = tmp_path_factory.mktemp("staged")
    letters = np.random.default_rng(5).choice(list("ACGT"), 3_000)
    (base / "genome.fa").write_text(f">one\n{''.join(letters[:2000])}\n>two\n{''.join(letters[2000:])}\n")
    (base / "intervals.bed").write_text(
        "one\t0\t1024\ttrain\none\t1100\t1612\ttrain\ntwo\t0\t400\tvalid\ntwo\t500\t900\ttest\n"
    )
    overrides = (
        "data=hg38",
        *TINY,
        f"data.fasta={base / 'genome.fa'}",
        f"data.intervals={base / 'intervals.bed'}",
        "data.length_warmup.first_length=8",
        "data.length_warmup.steps=40",
        "train.max_steps=120",
        "train.validate_every=35",
        "train.checkpoint_every=3",
    )
    done = run(base, *overrides, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return overrides, base / "run"


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGKILL, 45), (signal.SIGTERM, 61), (signal.SIGUSR1, 88)]
)
def test_run_stopped_in_stage_resumes_bit_for_bit(
    staged_run: tuple[tuple[str, ...], Path],
    tmp_path: Path,
    number: signal.Signals,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides, uninterrupted = staged_run
    asked = fake_scontrol(tmp_path, monkeypatch) if number == signal.SIGUSR1 else None
    folder = tmp_path / "mine"
    errors = stop(folder, number, step, 120, *overrides)
    if asked is not None:
        assert asked.read_text() == "requeue 4711\n"
        assert errors.endswith("last.ckpt; SLURM job 4711 is queued again\n")
    resume(folder, uninterrupted, *overrides)


def fake_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of SLURM, as far as SIGUSR1 is concerned; returns where the fake notes what it was asked."""
    asked = folder / "asked"
    (folder / "bin").mkdir()
    program = folder / "bin" / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return asked
