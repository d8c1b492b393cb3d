"""Every configuration file composes and builds what it names."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from dnamamba import LanguageModel, UserError
from dnamamba.commands.experiments import experiment_names, published
from dnamamba.commands.settings import model_config
from dnamamba.config import conf_dir, typed
from dnamamba.data import hg38
from dnamamba.data.length_schedule import LengthSchedule, Stage
from dnamamba.datasets.genome.config import GenomeConfig
from dnamamba.training.config import TrainConfig

PARAMETERS = {
    "tiny": 65_984,
    "paper_250k": 262_208,
    "paper_700k": 683_424,
    "paper_1m4": 1_400_448,
    "paper_3m5": 3_525_696,
    "paper_7m": 7_010_560,
    "paper_19m3": 19_287_936,
    "paper_40m7": 40_690_176,
    "ablation": 1_400_448,
    "caduceus_ph": 7_723_264,
    "caduceus_ps": 7_723_264,
    "transformer_250k": 201_792,
    "transformer_700k": 554_784,
    "transformer_1m4": 1_206_912,
    "transformer_3m5": 3_100_992,
    "transformer_7m": 6_330_624,
    "transformer_19m3": 17_705_856,
    "transformer_40m7": 37_962_240,
    "hyena": 435_072,
    "hyena_250k": 255_360,
    "hyena_700k": 640_960,
    "hyena_1m4": 1_302_656,
    "hyena_3m5": 3_280_832,
    "hyena_7m": 6_548_480,
    "hyena_19m3": 18_131_840,
    "hyena_40m7": 38_412_032,
}
SIZES = [name.removeprefix("paper_") for name in PARAMETERS if name.startswith("paper_")]


def files_of(group: str) -> set[str]:
    return {path.stem for path in (conf_dir() / group).glob("*.yaml")}


def test_every_model_file_is_known() -> None:
    assert files_of("model") == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_file_builds_the_size_it_says(configure: Callable[..., DictConfig], name: str) -> None:
    cfg = configure(f"model={name}")
    config = model_config(cfg.model, cfg.data.alphabet)
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in LanguageModel(config).parameters())
    assert found == PARAMETERS[name]
    assert f"{found:,} parameters" in (conf_dir() / "model" / f"{name}.yaml").read_text()


def test_hyena_sizes_are_within_a_tenth_of_mambas() -> None:
    assert len(SIZES) == 7
    for size in SIZES:
        assert abs(PARAMETERS[f"hyena_{size}"] / PARAMETERS[f"paper_{size}"] - 1) < 0.1, size


@pytest.mark.parametrize("size", ["250k", "40m7"])
def test_size_experiment_takes_hyena_in_place(configure: Callable[..., DictConfig], size: str) -> None:
    cfg = configure(
        f"experiment=hg38/size_{size}", f"model=hyena_{size}", "data.fasta=a.fa", "data.intervals=a.bed"
    )
    config = model_config(cfg.model, cfg.data.alphabet)
    assert (config.family, config.max_length) == ("hyena", 1024)  # type: ignore[attr-defined]
    assert cfg.train.bases_per_step == 2**20


def test_data_group_has_keys_of_its_class(configure: Callable[..., DictConfig]) -> None:
    for name in ("genome", "hg38"):
        files = () if name == "genome" else ("data.fasta=a.fa", "data.intervals=a.bed")
        typed(configure(f"data={name}", *files).data, GenomeConfig, "data")


def test_hg38_needs_its_files(configure: Callable[..., DictConfig]) -> None:
    with pytest.raises(UserError, match=r"^data.fasta, data.intervals: must be given$"):
        typed(configure("data=hg38").data, GenomeConfig, "data")


def schedule(cfg: DictConfig, world_size: int = 1) -> LengthSchedule:
    data = typed(cfg.data, GenomeConfig, "data")
    return data.schedule(
        global_batch_size=typed(cfg.train, TrainConfig, "train")
        .in_sequences(data.max_length)
        .sequences_per_step,
        max_steps=cfg.train.max_steps,
        world_size=world_size,
        samples_per_epoch=hg38.samples_per_epoch,
    )


def test_a_plain_run_is_one_stage(configure: Callable[..., DictConfig]) -> None:
    (stage,) = schedule(configure("data.max_length=100", "train.global_batch_size=32")).stages
    assert stage == Stage(0, 100, 32, 0, 600)


def test_stages_keep_bases_per_step_and_micro_batch(configure: Callable[..., DictConfig]) -> None:
    overrides = ("data.max_length=64", "data.length_warmup.first_length=16", "data.length_warmup.steps=5")
    stages = schedule(configure(*overrides, "train.max_steps=50"), world_size=1).stages
    assert [(stage.length, stage.sequences, stage.steps) for stage in stages] == [
        (16, 64, 5),
        (32, 32, 5),
        (64, 16, 40),
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("train.global_batch_size=100",),
            "train.global_batch_size=100 is not a multiple of data.batch_size=16 times 2 device(s) = 32",
        ),
        (
            ("data.max_length=100", "data.length_warmup.first_length=30"),
            "data.max_length, data.length_warmup.first_length: a length of 100 is not 30 doubled",
        ),
        (
            ("data.length_warmup.first_length=128", "data.length_warmup.steps=[9,1.5]"),
            "data.length_warmup.steps: must be a whole number or a list of them (got 1.5)",
        ),
        (
            ("data.length_warmup.first_length=0",),
            "data.length_warmup.first_length: must be at least 1 (got 0)",
        ),
        (
            ("data.length_warmup.first_length=128",),
            "data.length_warmup, train.max_steps: how long does a stage",
        ),
        (("train.max_steps=null",), "data.length_warmup, train.max_steps: how long does a stage last?"),
        (
            ("data.length_warmup.epochs=1", "data.length_warmup.steps=1"),
            "a stage lasts a number of epochs or of steps: set one of the two, not both",
        ),
    ],
)
def test_numbers_that_do_not_go_together_are_named(
    configure: Callable[..., DictConfig], overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError) as error:
        schedule(configure("train.global_batch_size=32", *overrides), world_size=2)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.max_length=many",
            "data.max_length: expected a number of bases or chromosome, where a record is a sample",
        ),
        ("data.max_length=null", "data.max_length: expected a number of bases or chromosome"),
        (
            "data.batch_size=many",
            "data.batch_size: expected a whole number (got 'many')",
        ),
        ("data.markov_orders=[x]", "data.markov_orders[0]: expected a whole number (got 'x')"),
        ("+data.fast=1", "data.fast: no such setting; data has fasta, "),
        ("data.intervals=a.bed", "data.intervals is of a genome of your own: set data.fasta as well"),
        ("data.num_workers=-1", "data.num_workers: must be at least 0 (got -1)"),
    ],
)
def test_a_value_of_another_type_names_its_key(
    configure: Callable[..., DictConfig], override: str, message: str
) -> None:
    with pytest.raises(UserError) as error:
        typed(configure(override).data, GenomeConfig, "data")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# Of whole chromosomes an index is needed: tests/planning plans them, and tests/datasets the others.
PRETRAININGS = [
    name
    for name in experiment_names("pretrain")
    if "chromosomes" not in name and not name.startswith(("synthetic/", "bytes/", "ablation/"))
]
# Digitised from the paper: model, and perplexity of Mamba by size, or by length.
PERPLEXITY = {
    "size_250k": 3.075,
    "size_700k": 2.991,
    "size_1m4": 2.925,
    "size_3m5": 2.853,
    "size_7m": 2.804,
    "size_19m3": 2.742,
    "size_40m7": 2.706,
    **dict(
        zip(
            (f"context_2p{log2}_{size}" for size in ("1m4", "7m") for log2 in (10, 12, 14, 16, 18, 20)),
            (2.895, 2.876, 2.866, 2.869, 2.863, 2.862, 2.761, 2.739, 2.730, 2.729, 2.725, 2.722),
            strict=True,
        )
    ),
}


@pytest.mark.parametrize("name", PRETRAININGS)
def test_an_experiment_composes_and_its_stages_divide(
    configure: Callable[..., DictConfig], name: str
) -> None:
    files = ("data.fasta=a.fa", "data.intervals=a.bed") if name.startswith("hg38/") else ()
    cfg = configure(f"experiment={name}", *files)
    train = typed(cfg.train, TrainConfig, "train")
    assert train.schedule(schedule(cfg, cfg.trainer.devices).max_steps)(0) > 0
    with torch.device("meta"):
        LanguageModel(model_config(cfg.model, cfg.data.alphabet))


@pytest.mark.parametrize(
    "path", sorted((conf_dir() / "experiment").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_an_experiment_file_opens_with_command_and_hardware(path: Path) -> None:
    header = path.read_text().partition("\ndefaults:")[0]
    assert header.startswith("# @package _global_\n")
    command = re.search(r"python -m dnamamba\.(?:pretrain|finetune) experiment=(\S+)", header)
    assert command is not None
    assert command[1] in experiment_names()
    assert "# Hardware: " in header


@pytest.mark.parametrize(("name", "perplexity"), PERPLEXITY.items())
def test_pretraining_of_paper_keeps_its_number_and_bases(
    configure: Callable[..., DictConfig], name: str, perplexity: float
) -> None:
    line = published(f"hg38/{name}")
    assert line is not None
    assert line.startswith(f"published: perplexity {perplexity}")
    cfg = configure(f"experiment=hg38/{name}", "data.fasta=a.fa", "data.intervals=a.bed")
    stages = schedule(cfg).stages
    assert {stage.length * stage.sequences for stage in stages} == {2**20 if "size" in name else 2**24}
    parameters = {"1m4": 1_400_448, "7m": 7_010_560}.get(name.rpartition("_")[2])
    with torch.device("meta"):
        found = sum(p.numel() for p in LanguageModel(model_config(cfg.model, cfg.data.alphabet)).parameters())
    assert parameters in (None, found)


def test_of_two_units_one_on_command_line_counts(configure: Callable[..., DictConfig]) -> None:
    files = ("data.fasta=a.fa", "data.intervals=a.bed")
    cfg = configure("experiment=hg38/size_1m4", *files, "data.batch_size=256")
    assert (cfg.data.batch_size, cfg.data.bases_per_batch) == (256, None)
    cfg = configure("data.bases_per_batch=4096", "train.bases_per_step=8192")
    data = typed(cfg.data, GenomeConfig, "data")
    assert (data.windows_at_a_time, data.bases_at_a_time) == (8, 4096)
    assert typed(cfg.train, TrainConfig, "train").in_sequences(512).sequences_per_step == 16


def test_two_units_that_differ_are_named(configure: Callable[..., DictConfig]) -> None:
    both = ("data.batch_size=8", "data.bases_per_batch=8192")
    with pytest.raises(UserError, match=r"data\.batch_size=8 and data\.bases_per_batch=8192 \(16 windows"):
        typed(configure(*both).data, GenomeConfig, "data")
