"""What a checkpoint holds, which run may resume it, and a curve that is complete after a death."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from dnamamba import UserError
from dnamamba.commands.pretrain import pretrain
from dnamamba.reports.figures import read_metrics
from dnamamba.training.module import Task
from dnamamba.training.row_sums import SUMS

Configure = Callable[..., DictConfig]


def test_a_checkpoint_of_another_run_lists_what_differs(tiny: Configure, tmp_path: Path) -> None:
    pretrain(tiny("train.max_steps=1"), tmp_path / "first")
    checkpoint = tmp_path / "first" / "checkpoints" / "last.ckpt"
    overrides = (
        f"ckpt_path={checkpoint}",
        "model.d_model=32",
        "model.n_layer=2",
        "data.alphabet=bytes",
        "data.max_length=16",
        "train.seed=7",
        "train.learning_rate=1e-3",
        "data.valid=[]",
    )
    with pytest.raises(UserError) as error:
        pretrain(tiny(*overrides), tmp_path / "second")
    for difference in (
        "model.d_model: 16, 32",
        "model.n_layer: 1, 2",
        "model.alphabet: dna, bytes",
        "model.vocab_size: 8, 256",
        "data.max_length: 32, 16",
        "train.seed: 0, 7",
        "train.learning_rate: 0.008, 0.001",
        "genome.split: ",
    ):
        assert difference in str(error.value)
    assert not (tmp_path / "second").exists()


def test_a_checkpoint_of_another_genome_is_refused(tiny: Configure, genome: Path, tmp_path: Path) -> None:
    pretrain(tiny("train.max_steps=1"), tmp_path / "first")
    other = tmp_path / "other.fa"
    other.write_text(genome.read_text().replace(">three", ">four"))
    with pytest.raises(UserError, match=r"genome.split: "):
        pretrain(
            tiny(f"data.fasta={other}", "data.test=[four]", f"ckpt_path={tmp_path / 'first'}"),
            tmp_path / "second",
        )


def test_checkpoint_of_genome_of_same_lengths_is_refused(
    tiny: Configure, genome: Path, tmp_path: Path
) -> None:
    pretrain(tiny("train.max_steps=1"), tmp_path / "first")
    other = tmp_path / "other.fa"
    text = genome.read_text()
    place = text.index("\n") + 1_000
    other.write_text(text[:place] + ("A" if text[place] != "A" else "C") + text[place + 1 :])
    with pytest.raises(UserError, match=r"genome.split: "):
        pretrain(tiny(f"data.fasta={other}", f"ckpt_path={tmp_path / 'first'}"), tmp_path / "second")


def test_finished_run_and_used_folder_are_refused(tiny: Configure, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    pretrain(tiny("train.max_steps=2"), folder)
    with pytest.raises(UserError, match=r"has done 2 steps of 2: nothing is left to do"):
        pretrain(tiny("train.max_steps=2", f"ckpt_path={folder}"), tmp_path / "again")
    with pytest.raises(UserError, match=r"run holds a run already: choose another hydra.run.dir"):
        pretrain(tiny("train.max_steps=2"), folder)
    assert pretrain(tiny("train.max_steps=3", "ckpt_path=last"), folder)["steps"] == 3


@pytest.mark.parametrize("validate_every", [2, 100])
def test_steps_are_numbered_on_after_a_finished_run(
    tiny: Configure, tmp_path: Path, validate_every: int
) -> None:
    """With 2, the last step of the first run had a validation."""
    every = f"train.validate_every={validate_every}"
    pretrain(tiny("train.max_steps=2", every), tmp_path / "run")
    pretrain(tiny("train.max_steps=4", "ckpt_path=last", every), tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows if "train/loss" in row] == [0, 1, 2, 3]


def test_a_changed_digit_in_metrics_csv_is_not_resumed(tiny: Configure, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    pretrain(tiny("train.max_steps=2"), folder)
    path = folder / "metrics.csv"
    loss = next(row["train/loss"] for row in read_metrics(path) if "train/loss" in row)
    changed = path.read_text().replace(repr(loss), repr(loss + 0.01))
    path.write_text(changed)
    with pytest.raises(UserError, match=r"metrics\.csv: its first \d+ rows are not as they were logged"):
        pretrain(tiny("ckpt_path=auto"), folder)
    assert path.read_text() == changed
    path.write_text(changed.replace(repr(loss + 0.01), repr(loss)))
    pretrain(tiny("ckpt_path=auto"), folder)
    assert loss in [row.get("train/loss") for row in read_metrics(path)]


@pytest.mark.parametrize(
    ("hook", "step", "reached"),
    [
        ("on_train_batch_end", 3, 2),
        ("validation_step", 3, 3),
        ("on_train_batch_start", 3, 3),
        ("validation_step", 6, 6),
    ],
    ids=["before step 3 is logged", "in its validation", "after it", "in the validation of the last step"],
)
def test_curve_is_complete_after_death_near_a_checkpoint(
    tiny: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, step: int, reached: int
) -> None:
    """A checkpoint counts once its step is in metrics.csv; it does not wait for the validation."""
    pretrain(tiny(), tmp_path / "whole")
    plain = getattr(Task, hook)

    def died(task: Task, *arguments: Any) -> Any:
        if task.trainer.global_step == step:
            raise ZeroDivisionError
        return plain(task, *arguments)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Task, hook, died)
        with pytest.raises(ZeroDivisionError):
            pretrain(tiny(), folder)
    last = folder / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == reached
    pretrain(tiny("ckpt_path=auto"), folder)
    whole, resumed = (
        [
            {name: value for name, value in row.items() if "second" not in name}
            for row in read_metrics(run / "metrics.csv")
        ]
        for run in (tmp_path / "whole", folder)
    )
    watched = [row["step"] for row in whole if "val/bits_per_base" in row]
    assert watched == [2, 5, 6]  # the last is the final score
    assert resumed == whole
    assert torch.load(last, weights_only=True)["dnamamba"]["unvalidated"] is False
    assert {path.name for path in last.parent.iterdir()} == {"last.ckpt", SUMS}


def test_a_checkpoint_holds_tensors_and_plain_values_only(tiny: Configure, tmp_path: Path) -> None:
    pretrain(tiny("train.max_steps=1"), tmp_path / "run")
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)

    def check(value: object, where: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                assert type(key) in (str, int), where
                check(item, f"{where}.{key}")
        elif isinstance(value, list | tuple):
            for item in value:
                check(item, where)
        else:
            assert value is None or type(value) in (str, int, float, bool, torch.Tensor), (
                f"{where}: {type(value)}"
            )

    check({**checkpoint, "state_dict": dict(checkpoint["state_dict"])}, "checkpoint")
