"""`train.epochs`: as many steps as the training sequences take."""

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dnamamba import FinetuneTrainConfig, Finetuning, LabelledConfig, MambaConfig, SpeciesConfig, UserError
from dnamamba.commands.resumed import own_configuration
from dnamamba.config import composed
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.planning.plan import plan_run

SHAPE = MambaConfig(d_model=8, n_layer=1)
WITHOUT = TaskConfig(baselines=False)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten training sequences, four that are held out."""
    splits = ["train"] * 10 + ["valid", "valid", "test", "test"]
    rows = [f"{'ACGT'[i % 4] * 8}{'ACGT'[i // 4] * 3},{i % 2},{split}\n" for i, split in enumerate(splits)]
    path = tmp_path / "t.csv"
    path.write_text("sequence,label,split\n" + "".join(rows))
    return path


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 3), (2.0, 5), (0.1, 1), (2.5, 7)])
def test_run_is_as_long_as_its_epochs(table: Path, tmp_path: Path, epochs: float, steps: int) -> None:
    train = FinetuneTrainConfig(epochs=epochs, global_batch_size=4)
    run = Finetuning(
        tmp_path / "run", LabelledConfig(table=str(table)), SHAPE, task=WITHOUT, train=train, quiet=True
    ).build()
    assert run.data.schedule.max_steps == steps
    said = f"train.epochs={epochs:g} of 10 training sequences: {steps} steps of 4"
    assert said in run.report.introduction()


def test_epochs_of_endless_or_unread_data_are_refused(table: Path, tmp_path: Path) -> None:
    for letters, name in (("AC", "one"), ("GT", "two")):
        text = "".join(f">{name}|locus{i}\n{letters * 40}\n" for i in range(20))
        (tmp_path / f"{name}.fa").write_text(text)
    species = {name: str(tmp_path / f"{name}.fa") for name in ("one", "two")}
    data = SpeciesConfig(
        species=species, split="record", valid=None, test=None, max_length=32, test_windows=4
    )
    train = FinetuneTrainConfig(epochs=1, global_batch_size=4)
    for match, call in (
        (
            r"train\.epochs: .* is drawn without end \(got 1\); set train\.max_steps",
            Finetuning(tmp_path / "run", data, SHAPE, task=WITHOUT, train=train, quiet=True).build,
        ),
        (
            r"train\.epochs: only the data tell how many steps that is",
            lambda: plan_run(LabelledConfig(table=str(table), max_length=11), SHAPE, train, 1),
        ),
        (
            r"train\.epochs=1 \(3 steps\) and train\.max_steps=4 differ; set one of the two",
            Finetuning(
                tmp_path / "run",
                LabelledConfig(table=str(table)),
                SHAPE,
                task=WITHOUT,
                train=replace(train, max_steps=4),
                quiet=True,
            ).build,
        ),
        (r"train\.epochs: must be a number above 0", lambda: FinetuneTrainConfig(epochs=0)),
    ):
        with pytest.raises(UserError, match=match) as error:
            call()
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "max_steps", "epochs"),
    [
        (["train.epochs=2"], "auto", 2),
        (["train={epochs: 2}"], "auto", 2),
        (["train.epochs=null"], 600, None),
        (["train.epochs=2", "train.max_steps=9"], 9, 2),
        (["train.max_steps=9"], 9, None),
    ],
)
def test_an_experiments_steps_give_way_to_typed_epochs(
    overrides: list[str], max_steps: object, epochs: object
) -> None:
    train = composed("finetune", ["experiment=yeast_genes", *overrides]).train
    assert (train.max_steps, train.epochs) == (max_steps, epochs)


@pytest.mark.parametrize(
    ("first", "typed", "max_steps", "epochs"),
    [
        ("train.epochs=3", "train.max_steps=9", 9, None),
        ("train.epochs=3", "train.max_steps=auto", "auto", 3),
        ("train.epochs=3", "train.epochs=4", "auto", 4),
        ("train.max_steps=9", "train.epochs=4", "auto", 4),
        ("train.max_steps=9", "train.epochs=null", 9, None),
    ],
)
def test_a_resumed_runs_epochs_or_steps_give_way_to_what_is_typed(
    tmp_path: Path, first: str, typed: str, max_steps: object, epochs: object
) -> None:
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(composed("finetune", [first])))
    overrides = [f"ckpt_path={tmp_path}", typed]
    train = own_configuration(composed("finetune", overrides), overrides).train
    assert (train.max_steps, train.epochs) == (max_steps, epochs)


def test_a_run_is_resumed_for_more_epochs(table: Path, tmp_path: Path) -> None:
    train = FinetuneTrainConfig(epochs=1, global_batch_size=4)
    given = {"data": LabelledConfig(table=str(table)), "model": SHAPE, "task": WITHOUT, "quiet": True}
    Finetuning(tmp_path / "run", train=train, **given).run()
    for epochs, steps in ((2.0, 5), (None, 3)):
        again = replace(train, epochs=epochs)
        run = Finetuning(tmp_path / "more", train=again, ckpt_path=str(tmp_path / "run"), **given).build()
        assert (run.data.schedule.max_steps, run.train.epochs) == (steps, epochs or 1.0)
