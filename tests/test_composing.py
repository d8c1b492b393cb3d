"""`tests/composing.py` against Hydra's own way: the same configurations, choices and mistakes."""

from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from dnamamba.commands.experiments import conf_dir
from tests import composing


@pytest.fixture(autouse=True)
def quick_afterwards() -> Iterator[None]:
    yield
    composing.quicken()


def text(name: str, overrides: list[str], conf: Path | None = None) -> str:
    """All that Hydra composes, its own settings included."""
    with hydra.initialize_config_dir(str(conf or conf_dir()), version_base="1.3"):
        return OmegaConf.to_yaml(hydra.compose(name, overrides, return_hydra_config=True))


CASES = [
    ("pretrain", []),
    ("pretrain", ["data=hg38", "model=paper_1m4", "data.max_length=77"]),
    ("pretrain", ["model=paper_1m4", "data.max_length=78", "+train.more=1", "data=hg38"]),
    ("pretrain", ["~logger", "experiment=hg38/size_1m4", "hydra.run.dir=a", "train.seed=3"]),
    ("finetune", ["data=labelled", "data.columns={id: a, label: b}"]),
    ("finetune", ["data=labelled", "data.columns.id=c", "hydra/job_logging=none"]),
    ("embed", ["model={_path_: a}"]),
]


def test_configurations_equal_those_of_hydra() -> None:
    composing.slow_down()
    expected = [text(*case) for case in CASES]
    assert len(set(expected)) == len(expected)
    composing.quicken()
    for _ in range(2):
        assert [text(*case) for case in CASES] == expected


def test_changing_a_configuration_changes_no_later_one() -> None:
    for length in (5, 6):
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = hydra.compose("pretrain")
        assert cfg.data.max_length == 512
        cfg.data.max_length = length


@pytest.mark.parametrize("wrong", ["data=nothing", "data.nothing=1", "+data=hg38", "~objective=nothing"])
def test_mistakes_are_those_of_hydra(wrong: str) -> None:
    said = []
    for way in (composing.slow_down, composing.quicken):
        way()
        for overrides in ([wrong], ["data.max_length=9", wrong]):
            with pytest.raises(HydraException) as error:
                text("pretrain", overrides)
            said.append(str(error.value))
    assert said[:2] == said[2:]


def test_files_of_others_are_read_each_time(tmp_path: Path) -> None:
    for value in (1, 2):
        (tmp_path / "own.yaml").write_text(f"a: {value}\n")
        assert f"\na: {value}\n" in text("own", [], tmp_path)
