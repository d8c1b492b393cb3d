"""In deterministic mode a run that was stopped on the GPU ends as one that was not, bit for bit."""

import signal
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TINY
from tests.test_command_line import resume, run, stop

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, ...], Path]:
    """Overrides of a run of stages of 40 steps at 128, 256 and 512 bases, and its folder."""
    base = tmp_path_factory.mktemp("staged")
    letters = np.random.default_rng(5).choice(list("ACGT"), 30_000)
    (base / "genome.fa").write_text(f">one\n{''.join(letters[:20000])}\n>two\n{''.join(letters[20000:])}\n")
    (base / "intervals.bed").write_text(
        "one\t0\t16384\ttrain\none\t17000\t19048\ttrain\ntwo\t0\t4000\tvalid\ntwo\t5000\t9000\ttest\n"
    )
    overrides = (
        "data=hg38",
        *TINY,
        "model.d_model=64",
        "model.n_layer=2",
        "trainer=gpu",
        "trainer.deterministic=true",
        f"data.fasta={base / 'genome.fa'}",
        f"data.intervals={base / 'intervals.bed'}",
        "data.max_length=512",
        "data.length_warmup.first_length=128",
        "data.length_warmup.steps=40",
        "train.max_steps=120",
        "train.validate_every=35",
        "train.checkpoint_every=3",
    )
    done = run(base, *overrides, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return overrides, base / "run"


@pytest.mark.parametrize(("number", "step"), [(signal.SIGKILL, 45), (signal.SIGTERM, 88)])
def test_run_that_was_stopped_has_same_bits(
    uninterrupted: tuple[tuple[str, ...], Path], tmp_path: Path, number: signal.Signals, step: int
) -> None:
    overrides, whole = uninterrupted
    folder = tmp_path / "mine"
    stop(folder, number, step, 120, *overrides)
    resume(folder, whole, *overrides)
