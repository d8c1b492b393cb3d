"""Several loggers at once: metrics.csv always, and whatever else is asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from dnamamba import UserError, optional
from dnamamba.commands.pretrain import GROUPS, OTHERS, pretrain
from dnamamba.commands.settings import loggers_of
from dnamamba.commands.unused import check_groups
from dnamamba.config import composed
from dnamamba.reports.figures import read_metrics

CSV = "{_target_: lightning.pytorch.loggers.CSVLogger, name: %s, version: v}"


def test_each_logger_gets_metrics_and_settings_of_the_run(
    tiny: Callable[..., DictConfig], tmp_path: Path
) -> None:
    cfg = tiny("train.max_steps=2", f"+logger.one={CSV % 'a'}", f"+logger.two={CSV % 'b'}")
    pretrain(cfg, tmp_path / "run")
    own = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in own if "train/loss" in row] == [0, 1]
    for name in ("a", "b"):
        assert read_metrics(tmp_path / "run" / name / "v" / "metrics.csv") == own
        settings = yaml.safe_load((tmp_path / "run" / name / "v" / "hparams.yaml").read_text())
        assert settings["train"]["max_steps"] == 2


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("logger=csv", []),
        ("logger=wandb", ["wandb"]),
        ("logger=mlflow", ["mlflow"]),
        ("logger=[csv,tensorboard,wandb]", ["tensorboard", "wandb"]),
    ],
)
def test_loggers_of_one_choice_or_a_list_have_names(override: str, names: list[str]) -> None:
    assert list(composed("pretrain", [override]).logger) == names


def test_a_logger_without_its_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    group = composed("pretrain", ["logger=[csv,tensorboard]"]).logger
    with pytest.raises(
        UserError, match=r"^logger=tensorboard needs tensorboard, .* 'dnamamba\[tensorboard\]'$"
    ):
        loggers_of(group, tmp_path)


def test_callbacks_that_are_no_group_are_refused() -> None:
    cfg = composed("pretrain", ["callbacks=mine"])
    with pytest.raises(UserError, match=r"^callbacks: must be a group .* set \+callbacks\.mine\._target_="):
        check_groups(cfg, GROUPS, OTHERS)


def test_a_logger_of_an_older_configuration_is_taken(tmp_path: Path) -> None:
    csv = {"_target_": "lightning.pytorch.loggers.CSVLogger", "name": "", "version": ""}
    assert loggers_of(OmegaConf.create(csv), tmp_path) == []
    with pytest.raises(UserError, match=r"^logger\.logger: cannot build no\.Such"):
        loggers_of(OmegaConf.create({"_target_": "no.Such"}), tmp_path)
