"""What is left to the data's size: values of the rules; given numbers and earlier runs are kept."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from dnamamba import FinetuneTrainConfig, UserError
from dnamamba.auto import AUTO
from dnamamba.commands.finetune import finetune, settings_of
from dnamamba.commands.plan import print_finetuning_plan
from dnamamba.config import composed
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.automatic import Size, resolved
from tests.finetuning.conftest import SHORT, Configure, write_table

OPEN = ("train.max_steps=auto", "train.learning_rate=auto", "train.validate_every=auto")


def of_size(sequences: int | None, length: int = 300) -> Any:
    steps: list[int] = []
    bases = None if sequences is None else sequences * length
    return SimpleNamespace(
        label="these", training_sequences=sequences, training_bases=bases, run_for=steps.append, steps=steps
    )


@pytest.mark.parametrize(
    ("sequences", "length", "epochs", "rate", "decay"),
    [
        (100, 60, 30.0, 1e-3, 0.25 ** (1 / 13)),
        (1_088, 300, 12_800 / 1_088, 1e-3, 0.25 ** (1 / 13)),
        (4_000, 60, 3.2, 1e-3, 0.25 ** (1 / 13)),
        (9_000, 300, 3.0, 1.4e-3, 0.25 ** (0.5 / 13)),
        (18_022, 256, 3.0, 2e-3, 1.0),
        (2**20, 512, 2.0, 2e-3, 1.0),
        (2**22, 1_024, 1.0, 2e-3, 1.0),
        (256, 2**20, 4.0, 1e-3, 0.25 ** (1 / 13)),
    ],
)
def test_rules_have_these_values_at_these_sizes(
    sequences: int, length: int, epochs: float, rate: float, decay: float
) -> None:
    size = Size(sequences, length, sequences, whole=True)
    assert size.epochs == pytest.approx(epochs, rel=1e-12)
    assert size.learning_rate == rate
    assert size.layer_decay(12) == round(decay, 3)


def test_windows_of_large_genome_are_read_in_part() -> None:
    assert Size(2**22, 1_024, 2**32, whole=False).epochs == 0.25


def test_open_settings_follow_size_and_are_said() -> None:
    data = of_size(9_000)
    train, task, lines = resolved(
        FinetuneTrainConfig().in_sequences(None), TaskConfig(), data, depth=12, earlier={}
    )
    assert (train.max_steps, train.learning_rate, train.validate_every) == (844, 1.4e-3, 84)
    assert (task.patience, task.layer_decay) == (3, 0.948)
    assert data.steps == [844]
    assert lines == [
        "train.epochs=3 of 9,000 training sequences: 844 steps of 32",
        "set by the size of the data: train.max_steps=844, train.learning_rate=0.0014, "
        "train.validate_every=84, task.layer_decay=0.948, task.patience=3",
    ]


def test_given_settings_stay_and_end_no_earlier() -> None:
    given = FinetuneTrainConfig(max_steps=7, learning_rate=0.5, validate_every=3).in_sequences(None)
    train, task, lines = resolved(given, TaskConfig(), of_size(9_000), depth=12, earlier={})
    assert train == given
    assert (task.patience, task.layer_decay) == (None, 1.0)
    assert lines == []
    own = TaskConfig(patience=9, layer_decay=0.5)
    assert resolved(given, own, of_size(9_000), depth=12, earlier={})[1:] == (own, [])


def test_data_without_end_have_steps_of_before() -> None:
    train, task, _ = resolved(
        FinetuneTrainConfig().in_sequences(None), TaskConfig(), of_size(None), depth=12, earlier={}
    )
    assert (train.max_steps, train.learning_rate, train.validate_every) == (400, 2e-3, 50)
    assert (task.patience, task.layer_decay) == (None, 1.0)


def test_closed_form_reads_each_sequence_once() -> None:
    train = FinetuneTrainConfig().in_sequences(None)
    train, _, lines = resolved(train, TaskConfig(fit="closed"), of_size(320), None, {})
    assert train.max_steps == 10
    assert lines == [
        "train.epochs=1 of 320 training sequences: 10 steps of 32",
        "set by the size of the data: train.max_steps=10",
    ]


def test_run_writes_its_numbers_and_resumes_by_them(configure: Configure, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv")
    auto = (*SHORT, f"data.table={table}", "train.global_batch_size=64", "data.batch_size=64", *OPEN)
    cfg = configure(*auto)
    results = finetune(cfg, tmp_path / "run")
    saved = OmegaConf.load(tmp_path / "run" / "config.yaml")
    # 30 of 60 sequences, thirty times, 64 at a time.
    assert saved.train.max_steps == results["steps"] == 15
    assert (saved.train.learning_rate, saved.train.validate_every) == (2e-3, 10)
    assert (saved.task.patience, saved.task.layer_decay) == (3, 1.0)
    assert any("set by the size of the data: train.max_steps=15" in line for line in results["chosen"])
    assert (cfg.train.max_steps, cfg.task.patience) == (AUTO, AUTO)
    with pytest.raises(UserError, match=r"has done 15 steps of 15: nothing is left to do"):
        finetune(configure(*auto, f"ckpt_path={tmp_path / 'run'}"), tmp_path / "run")


def test_checkpoint_of_earlier_defaults_resumes_without_settings(
    configure: Configure, tmp_path: Path
) -> None:
    """As runs of before the rules: 4 steps at a rate of 0.02, a validation every 2, no early end."""
    table = write_table(tmp_path / "t.csv")
    shared = (*SHORT, f"data.table={table}", "task.patience=null", "task.layer_decay=1")
    finetune(configure(*shared, "train.max_steps=4"), tmp_path / "old")
    (tmp_path / "old" / "metrics.json").unlink()
    path = tmp_path / "old" / "checkpoints" / "last.ckpt"
    again = (*OPEN, "task.patience=auto", "task.layer_decay=auto", f"ckpt_path={path}")
    run = settings_of(configure(*shared, *again), tmp_path / "old").build()
    assert (run.train.max_steps, run.train.learning_rate, run.train.validate_every) == (4, 0.02, 2)
    assert run.execute().results["steps"] == 4


def test_experiments_keep_their_own_numbers() -> None:
    # Rows of conf/paper.yaml share one file.
    for name in ("apes/2p14_1m4", "yeast_genes"):
        cfg = composed("finetune", [f"experiment={name}"])
        assert AUTO not in (cfg.train.max_steps, cfg.train.learning_rate, cfg.train.validate_every), name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.max_steps=fast", "train.max_steps: expected a whole number, null or auto (got 'fast')"),
        ("train.validate_every=2.5", "train.validate_every: expected a whole number or auto (got 2.5)"),
        ("train.learning_rate=null", "train.learning_rate: expected a number or auto (got None)"),
        ("task.patience=true", "task.patience: expected a whole number, null or auto (got True)"),
        ("task.layer_decay=[1]", "task.layer_decay: expected a number or auto (got [1])"),
    ],
)
def test_what_is_neither_number_nor_auto_is_refused(
    configure: Configure, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match="^" + re.escape(message)):
        settings_of(configure(override), tmp_path)


def test_plan_says_that_data_set_the_steps(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    said = "train.max_steps=auto: the number of training sequences says how many steps the run has"
    for settings, expected in (((), True), (("train.max_steps=9",), False)):
        print_finetuning_plan(configure("data.max_length=512", *settings))
        assert (said in " ".join(capsys.readouterr().out.split())) is expected
