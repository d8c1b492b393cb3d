"""The synthetic experiments: they compose, plan, train, resume bit for bit and learn."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file

from dnamamba import Genome, UserError, embed, load
from dnamamba.commands.experiments import experiment_names, published
from dnamamba.commands.plan import plan_pretraining
from dnamamba.commands.pretrain import pretrain, pretrain_and_judge, settings_of
from dnamamba.config import composed
from dnamamba.data.alphabet import get_alphabet
from dnamamba.datasets.induction_heads import InductionHeadsConfig
from dnamamba.datasets.selective_copying import SelectiveCopyingConfig
from dnamamba.datasets.warmup import SequenceWarmup

EXPERIMENTS = ("selective_copying", "induction_heads")
SMALL = (
    "trainer=cpu",
    "model.d_model=16",
    "data.max_length=16",
    "data.vocabulary=6",
    "data.batch_size=4",
    "data.valid_examples=8",
    "data.test_examples=6",
    "data.test_lengths=[16,32,64]",
    "train.global_batch_size=8",
    "train.max_steps=6",
    "train.validate_every=3",
    "train.checkpoint_every=3",
    "train.log_every=1",
)
OWN = {"selective_copying": ("data.data_symbols=2",), "induction_heads": ()}


def configured(name: str, *overrides: str) -> DictConfig:
    return composed("pretrain", [f"experiment=synthetic/{name}", *SMALL, *OWN[name], *overrides])


def numbers(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize(
    ("name", "steps", "symbols", "accuracy"),
    [("selective_copying", 400_000, 64 * 4096, 99.8), ("induction_heads", 204_800, 8 * 256, 100)],
)
def test_experiment_is_planned_with_numbers_of_paper(
    name: str, steps: int, symbols: int, accuracy: float
) -> None:
    cfg = composed("plan", [f"experiment=synthetic/{name}", "plan.device=h200"])
    made = plan_pretraining(cfg)
    assert (made.steps, made.bases, made.parameters) == (steps, steps * symbols, 66_496)
    assert made.graphs
    assert (cfg.model.d_model, cfg.model.n_layer) == (64, 2)
    assert published(f"synthetic/{name}") == f"published: accuracy {accuracy}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_resumed_run_equals_uninterrupted_bit_for_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(configured(name), tmp_path / "whole")
    monkeypatch.setattr(
        "dnamamba.reports.answers.save_figure", lambda *_: None
    )  # each takes as long as the rest
    pretrain(configured(name, "train.max_steps=3"), tmp_path / "part")
    pretrain(configured(name, f"ckpt_path={tmp_path / 'part'}"), tmp_path / "resumed")
    found, expected = (
        load_file(tmp_path / run / "model" / "model.safetensors") for run in ("resumed", "whole")
    )
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key
    assert numbers(tmp_path / "resumed")["loss"] == whole["loss"]

    assert list(whole["accuracy_by_length"]) == ["16", "32", "64"]
    rows = [line.split("\t") for line in (tmp_path / "whole" / "accuracy.tsv").read_text().splitlines()[1:]]
    assert [int(row[1]) for row in rows] == [6 * (2 if OWN[name] else 1)] * 3
    assert sum(int(row[2]) for row in rows) / sum(int(row[1]) for row in rows) == whole["accuracy"]["test"]
    for picture in ("learning_curve.png", "extrapolation.png"):
        assert (tmp_path / "whole" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Where the marker came first among 8 places, of 3 other symbols; 200 steps, some seconds."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    more = (
        "data.max_length=8",
        "data.vocabulary=4",
        "data.valid_examples=128",
        "data.test_lengths=[8]",
        "data.batch_size=32",
        "train.global_batch_size=32",
        "train.max_steps=200",
        "train.validate_every=200",
        "train.learning_rate=0.02",
        "train.final_learning_rate=0",
        "train.checkpoint_every=200",
    )
    results, headline = pretrain_and_judge(configured("induction_heads", *more), folder)
    return folder, (results, headline)


def test_small_model_learns_induction_in_seconds(learned: tuple[Path, Any]) -> None:
    results, headline = learned[1]
    assert results["accuracy"]["valid"] > 0.95  # chance is 1/3
    assert (headline.name, headline.value, headline.lower_is_better) == (
        "accuracy",
        results["accuracy"]["valid"],
        False,
    )


def test_model_of_symbols_refuses_bases_in_one_line(learned: tuple[Path, Any], tmp_path: Path) -> None:
    said = "^model: reads symbols, not bases; give a model of DNA$"
    with pytest.raises(UserError, match=said):
        embed(load(learned[0]), ["ACGT"])
    (tmp_path / "a.fa").write_text(">a\nACGT\n")
    with pytest.raises(UserError, match=said):
        Genome(tmp_path / "a.fa", get_alphabet("symbols"))


def test_held_out_examples_stay_fixed_and_apart() -> None:
    """Whatever the seed; and each example of a length lies on one of two processes, once."""
    built = [
        InductionHeadsConfig(max_length=8).build(s, global_batch_size=8, max_steps=1, world_size=1)
        for s in (0, 1)
    ]
    ours, theirs = (dict(data.held_out_loaders()) for data in built)
    for split in ("valid", "test"):
        for one, other in zip(ours[split], theirs[split], strict=True):
            assert torch.equal(one["tokens"], other["tokens"])
    first = [next(iter(data.train_dataloader()))["tokens"] for data in built]
    assert not torch.equal(*first)

    data = built[0]
    seen = []
    for rank in (0, 1):
        data.place = lambda rank=rank: (rank, 2, 0)  # type: ignore[method-assign]
        seen += [batch["index"] for batch in data.val_dataloader()]
    np.testing.assert_array_equal(torch.cat(seen).sort().values, np.arange(256))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": 17}, "data.vocabulary: must lie between 3 and 16 (got 17)"),
        ({"max_length": 2}, "data.max_length: must lie between 3 and 16777216 (got 2)"),
        ({"test_lengths": [64, 100]}, "data.test_lengths: expected powers of two (got 100); leave it out"),
        ({"test_lengths": [64, 64]}, "data.test_lengths: a length stands twice (got [64, 64]); name it once"),
        ({"test_lengths": [2]}, "data.test_lengths: must lie between 3 and 16777216 (got 2)"),
        ({"test_examples": 0}, "data.test_examples: must be at least 1 (got 0)"),
        (
            {"length_warmup": SequenceWarmup(first_length=2)},
            "data.length_warmup.first_length: must be at least 3 (got 2)",
        ),
    ],
)
def test_numbers_out_of_range_name_their_key(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        InductionHeadsConfig(**settings)
    assert str(error.value) == message


def test_shorter_sequences_come_first() -> None:
    config = InductionHeadsConfig(
        max_length=32, batch_size=2, length_warmup=SequenceWarmup(first_length=8, steps=[2, 1])
    )
    data = config.build(0, global_batch_size=4, max_steps=5, world_size=1)
    batches = [batch for batch, _ in zip(data.train_dataloader(), range(5), strict=False)]
    assert [tuple(batch["tokens"].shape) for batch in batches] == [(4, 8), (4, 8), (4, 16), (4, 32), (4, 32)]
    assert [data.micro_batch(batch) for batch in batches] == [8, 8, 4, 2, 2]
    alone = InductionHeadsConfig(max_length=8).build(0, global_batch_size=4, max_steps=2, world_size=1)
    for one, other in zip(alone.train_dataloader(), batches[:2], strict=False):
        assert torch.equal(one["tokens"], other["tokens"])
    with pytest.raises(UserError, match=r"a length of 32 is not 9 doubled"):
        InductionHeadsConfig(max_length=32, length_warmup=SequenceWarmup(first_length=9)).planned(
            global_batch_size=2, max_steps=9, world_size=1
        )


def test_markers_need_room() -> None:
    with pytest.raises(UserError, match=r"^data.max_length: must lie between 32 and 16777216 \(got 31\)$"):
        SelectiveCopyingConfig(max_length=31)


def test_run_without_end_is_refused(tmp_path: Path) -> None:
    settings = settings_of(configured("induction_heads", "train.max_steps=null"), tmp_path / "run")
    with pytest.raises(UserError, match=r"^train.max_steps: examples are made without end \(got null\)"):
        settings.build()


def test_page_names_experiments_that_exist() -> None:
    page = (Path(__file__).parents[2] / "docs" / "paper.md").read_text("utf-8")
    named = set(re.findall(r"experiment=([a-z]\S*\w)", page))
    assert named <= set(experiment_names())
    assert {f"synthetic/{name}" for name in EXPERIMENTS} <= named
