"""A run folder alone says how a run goes on."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dnamamba.commands.resumed import own_configuration
from dnamamba.config import composed
from dnamamba.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with settings of its own."""
    first = composed(
        "pretrain", ["model=paper_250k", "train.max_steps=7", "data.valid=[chrII]", "train.seed=3"]
    )
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(first, resolve=True))
    return tmp_path


def resumed(*overrides: str) -> object:
    return own_configuration(composed("pretrain", overrides), overrides)


def test_a_folder_alone_brings_its_own_settings(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = resumed(f"ckpt_path={run}")
    first = composed(
        "pretrain", ["model=paper_250k", "train.max_steps=7", "data.valid=[chrII]", "train.seed=3"]
    )
    first.ckpt_path = str(run)
    assert cfg == first
    assert capsys.readouterr().err == f"dnamamba: resuming with the configuration of {run}/config.yaml\n"


def test_the_command_line_changes_settings_and_whole_groups(run: Path) -> None:
    cfg = resumed(
        f"ckpt_path={run}", "train.max_steps=9", "trainer=gpu", "data.test=[chrV]", "+callbacks.x={a: 1}"
    )
    assert (cfg.train.max_steps, cfg.train.seed, cfg.trainer.accelerator) == (9, 3, "cuda")
    assert (cfg.data.valid, cfg.data.test) == (["chrII"], ["chrV"])
    assert cfg.callbacks.x.a == 1
    assert cfg.model.d_model == composed("pretrain", ["model=paper_250k"]).model.d_model


def test_a_checkpoint_or_last_keeps_what_was_typed(run: Path) -> None:
    for value in (f"{run}/checkpoints/last.ckpt", "last", "auto"):
        assert resumed(f"ckpt_path={value}").train.seed != 3
    (run / "config.yaml").unlink()
    assert resumed(f"ckpt_path={run}").train.seed != 3


def test_an_old_runs_missing_keys_are_filled(run: Path) -> None:
    saved = OmegaConf.load(run / "config.yaml")
    del saved["plugins"]
    (run / "config.yaml").write_text(OmegaConf.to_yaml(saved))
    assert resumed(f"ckpt_path={run}").plugins == []


def test_what_does_not_go_with_a_run_is_one_line(run: Path) -> None:
    with pytest.raises(
        UserError, match=r"^experiment=yeast_1m4: does not go with ckpt_path=\S+, whose run has"
    ):
        resumed(f"ckpt_path={run}", "experiment=yeast_1m4")
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config\.yaml: damaged \(") as error:
        resumed(f"ckpt_path={run}")
    assert "\n" not in str(error.value)


def test_a_configuration_without_end_is_refused(tmp_path: Path) -> None:
    for text, message in (("a: &a [*a]\n", r"\*a holds itself"), ("- 1\n", "not a configuration")):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=rf"config\.yaml: {message}"):
            own_configuration(OmegaConf.create({"ckpt_path": str(tmp_path)}), [])
