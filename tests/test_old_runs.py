"""Run folders of the build before the run loop (1fcd69b) load, and resume to what that build came to."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from dnamamba import LanguageModel, SequenceModel, load
from dnamamba.commands.finetune import finetune
from dnamamba.commands.pretrain import pretrain
from dnamamba.config import composed

OLD = Path(__file__).parent / "old_runs"
STEPS = (
    "data.max_length=64",
    "data.batch_size=4",
    "train.global_batch_size=4",
    "train.validate_every=2",
    "train.checkpoint_every=2",
    "train.log_every=1",
)
# Bits per base, and losses, that the old build's own resumed run ended with, on one thread of a CPU.
BITS = {"valid": 2.8092591762542725, "test": 2.8092477321624756}
LOSS = {"valid": 0.6994237899780273, "test": 0.6995716094970703}


def test_an_old_pretraining_resumes_to_the_old_result(
    configure: Callable[..., DictConfig], tmp_path: Path
) -> None:
    assert isinstance(load(OLD / "pre"), LanguageModel)
    cfg = configure(
        *STEPS,
        "model.d_model=8",
        "model.n_layer=1",
        "data.valid_windows=4",
        "data.markov_orders=[]",
        "train.max_steps=6",
        f"ckpt_path={OLD / 'pre'}",
    )
    results = pretrain(cfg, tmp_path / "run")
    assert results["bits_per_base"] == pytest.approx(BITS, rel=1e-6)


def test_an_old_finetuning_resumes_to_the_old_result(tmp_path: Path) -> None:
    assert isinstance(load(OLD / "fine"), SequenceModel)
    own = (
        "model=scratch",
        "scratch.d_model=8",
        "scratch.n_layer=1",
        "task.bootstrap=5",
        "task.baselines=false",
        "data.valid_examples=8",
        "train.max_steps=6",
        f"ckpt_path={OLD / 'fine'}",
    )
    finetune(composed("finetune", [*STEPS, *own]), tmp_path / "run")
    last = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(last[0].split(","), line.split(","), strict=True)) for line in last[1:]]
    found = {
        split: float(rows[-1][f"{prefix}/loss"] or rows[-2][f"{prefix}/loss"])
        for split, prefix in (("valid", "val"), ("test", "test"))
    }
    assert found == pytest.approx(LOSS, rel=1e-6)
