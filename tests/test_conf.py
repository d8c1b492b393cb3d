"""Every configuration file composes and builds what it names."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from dnamamba import LanguageModel, UserError
from dnamamba.config import conf_dir, typed
from dnamamba.run import model_config
from dnamamba.tasks.genome_data import GenomeConfig
from dnamamba.trainer import TrainConfig, accumulation, build_trainer

PARAMETERS = {
    "tiny": 65_984,
    "paper_250k": 262_208,
    "paper_700k": 683_424,
    "paper_1m4": 1_400_448,
    "paper_3m5": 3_525_696,
    "paper_7m": 7_010_560,
    "paper_19m3": 19_287_936,
    "paper_40m7": 40_690_176,
}


def files_of(group: str) -> set[str]:
    return {path.stem for path in (conf_dir() / group).glob("*.yaml")}


def test_every_model_file_is_known() -> None:
    assert files_of("model") == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_file_builds_the_size_it_says(configure: Callable[..., DictConfig], name: str) -> None:
    config = model_config(configure(f"model={name}"))
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in LanguageModel(config).parameters())
    assert found == PARAMETERS[name]
    assert f"{found:,} parameters" in (conf_dir() / "model" / f"{name}.yaml").read_text()


def test_the_data_group_has_the_keys_of_its_class(configure: Callable[..., DictConfig]) -> None:
    for name in files_of("data"):
        typed(configure(f"data={name}").data, GenomeConfig, "data")


def test_the_cpu_trainer_builds(configure: Callable[..., DictConfig], tmp_path: Path) -> None:
    cfg = configure("train.global_batch_size=64", "train.validate_every=7")
    trainer = build_trainer(cfg, typed(cfg.train, TrainConfig, "train"), 16, tmp_path)
    assert trainer.accumulate_grad_batches == 4
    assert trainer.val_check_interval == 28


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine with a GPU has nothing to complain about")
def test_a_gpu_that_is_not_there_is_one_line(configure: Callable[..., DictConfig], tmp_path: Path) -> None:
    cfg = configure("trainer=gpu")
    with pytest.raises(UserError, match=r"^trainer.accelerator: there is no CUDA GPU here") as error:
        build_trainer(cfg, typed(cfg.train, TrainConfig, "train"), cfg.data.batch_size, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "expected"), [((16, 16, 1), 1), ((64, 16, 1), 4), ((64, 16, 2), 2), ((64, 8, 8), 1)]
)
def test_accumulation(arguments: tuple[int, int, int], expected: int) -> None:
    assert accumulation(*arguments) == expected


def test_a_batch_that_does_not_divide_names_the_numbers() -> None:
    message = r"train.global_batch_size=100 is no multiple of data.batch_size=16 times 2 device.* = 32"
    with pytest.raises(UserError, match=message):
        accumulation(100, 16, 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.max_length=many",
            "data.max_length: Value 'many' of type 'str' could not be converted to Integer",
        ),
        ("data.max_length=null", "data.max_length: Incompatible value 'None' for field of type 'int'"),
        ("data.valid=chrV", "data.valid: Invalid value assigned"),
        ("data.markov_orders=[x]", "data.markov_orders[0]: Value 'x'"),
        ("+data.fast=1", "data.fast: Key 'fast' not in 'GenomeConfig'"),
        ("data.num_workers=-1", "data.num_workers must be at least 0, not -1"),
    ],
)
def test_a_value_of_another_type_names_its_key(
    configure: Callable[..., DictConfig], override: str, message: str
) -> None:
    with pytest.raises(UserError) as error:
        typed(configure(override).data, GenomeConfig, "data")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(files_of("experiment")))
def test_an_experiment_composes_and_opens_with_its_command(
    configure: Callable[..., DictConfig], name: str
) -> None:
    cfg = configure(f"experiment={name}")
    data, train = typed(cfg.data, GenomeConfig, "data"), typed(cfg.train, TrainConfig, "train")
    assert accumulation(train.global_batch_size, data.batch_size, cfg.trainer.devices) >= 1
    with torch.device("meta"):
        LanguageModel(model_config(cfg))
    header = (conf_dir() / "experiment" / f"{name}.yaml").read_text().partition("\ndefaults:")[0]
    for line in (f"python -m dnamamba.pretrain experiment={name}", "Hardware: ", "Expected: "):
        assert line in header
