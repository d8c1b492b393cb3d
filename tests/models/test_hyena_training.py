"""HyenaDNA in a run: it trains, and what needs a recurrent model is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dnamamba import GenomeConfig, Pretraining, TrainConfig, UserError, load
from dnamamba.data.length_schedule import Stage
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.objectives.next_base import NextBase
from dnamamba.training.context import check_context
from tests.models.test_hyena import SHAPE, drawn


def genome(folder: Path, **changes: Any) -> GenomeConfig:
    (folder / "genome.fa").write_text("".join(f">{name}\n{'AACCGGTT' * 60}\n" for name in ("a", "b", "c")))
    data = {"max_length": 32, "batch_size": 8, "markov_orders": [], "valid_windows": 8}
    return GenomeConfig(fasta=str(folder / "genome.fa"), valid=["b"], test=["c"], **{**data, **changes})


def test_it_trains_by_next_base_and_is_saved(tmp_path: Path) -> None:
    result = Pretraining(
        tmp_path / "run",
        genome(tmp_path),
        HyenaConfig(d_model=16, n_layer=1, max_length=32, d_filter=8),
        "dnamamba.objectives.next_base.NextBase",
        train=TrainConfig(max_steps=30, global_batch_size=8, learning_rate=2e-2, validate_every=30),
        quiet=True,
    ).run()
    assert result is not None
    assert result.results["bits_per_base"]["test"] < 0.7  # two bits without the neighbours
    tokens = torch.randint(0, 4, (1, 20))
    again = load(tmp_path / "run")
    assert torch.equal(again(tokens).logits, result.model.eval()(tokens).logits)


@pytest.mark.parametrize("train", [{"chunk_bases": 16}, {"chunk_bases": "auto"}])
def test_chunks_are_refused_by_name(tmp_path: Path, train: dict[str, Any]) -> None:
    run = Pretraining(
        tmp_path / "run",
        genome(tmp_path),
        HyenaConfig(**{**SHAPE, "max_length": 32}),
        train=TrainConfig(max_steps=1, global_batch_size=8, validate_every=1, **train),
        quiet=True,
    )
    with pytest.raises(
        UserError, match=r"^train.chunk_bases=\w+ needs a model that is recurrent, and the family"
    ):
        run.run()


def test_sequence_on_several_processes_is_refused_by_name() -> None:
    backbone, objective = drawn().backbone, NextBase(HyenaConfig(**SHAPE))
    with pytest.raises(
        UserError, match=r"^trainer.context_size=2 needs a model that is recurrent and divisible"
    ):
        check_context(2, backbone, objective, [Stage(0, 32, 1, 0, 1)])


def test_windows_longer_than_the_filter_are_refused_before_training(tmp_path: Path) -> None:
    run = Pretraining(
        tmp_path / "run",
        genome(tmp_path, max_length=48),
        HyenaConfig(**SHAPE),
        train=TrainConfig(max_steps=1, global_batch_size=8, validate_every=1),
        quiet=True,
    )
    with pytest.raises(UserError, match="the family hyena reads at most 40 bases \\(got 48\\)"):
        run.run()
