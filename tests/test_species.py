"""Whole fine-tuning runs on simulated apes, and the experiments of the paper."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file

from data_prep.simulate_apes import simulate
from dnamamba.commands.experiments import experiment_names, published
from dnamamba.commands.finetune import finetune, model_of
from dnamamba.commands.plan import plan_finetuning
from dnamamba.commands.settings import data_config
from dnamamba.config import composed, typed
from dnamamba.errors import Interrupted, UserError
from dnamamba.models import LanguageModel
from dnamamba.objectives.sequence import TaskConfig
from dnamamba.training.checkpointing import LastCheckpoint
from dnamamba.training.config import FinetuneTrainConfig
from dnamamba.training.finetuning import pretrained_model
from tests import processes

EXPERIMENTS = [name for name in experiment_names() if name.startswith("apes/2p")]
# The paper's accuracies, in per cent: Mamba of 1.4M and 7M, HyenaDNA.
PAPER = {
    10: ("31.47", "30.00", "28.04"),
    12: ("27.50", "29.01", "28.43"),
    14: ("27.66", "31.48", "41.17"),
    16: ("40.72", "43.73", "42.22"),
    18: ("42.41", "56.60", "31.10"),
    20: ("71.67", "81.31", "54.87"),
}


@pytest.fixture
def configure(undrawn: None) -> Callable[..., DictConfig]:
    """Compose conf/finetune.yaml with overrides, as the command line does."""
    return lambda *overrides: composed("finetune", overrides)


@pytest.fixture(scope="module")
def apes(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides for three simulated apes, 20,000 bases in ten records each."""
    folder = tmp_path_factory.mktemp("apes")
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", dtype=np.uint8), 20_000)
    (folder / "root.fa").write_text(f">root\n{letters.tobytes().decode()}\n")
    paths = simulate(folder, fasta=folder / "root.fa", size=20_000)
    return tuple(f"data.species.{name}={paths[name]}" for name in ("human", "gorilla", "orangutan"))


@pytest.fixture
def tiny(configure: Callable[..., DictConfig], apes: tuple[str, ...]) -> Callable[..., DictConfig]:
    """Eleven steps in three stages: 16, 32 and 64 bases from steps 0, 4 and 8 on."""
    settings = (
        "data=species",
        "model=scratch",
        "scratch.d_model=16",
        "scratch.n_layer=1",
        "data.split=record",
        "data.valid=[chr1]",
        "data.test=[chr2]",
        "data.max_length=64",
        "data.length_warmup.first_length=16",
        "data.length_warmup.steps=4",
        "data.batch_size=3",
        "data.valid_windows=12",
        "data.test_windows=30",
        "train.max_steps=11",
        "train.global_batch_size=6",
        "train.validate_every=20",
        "train.checkpoint_every=1",
        "train.log_every=1",
        "task.bootstrap=10",
        "task.baselines=false",
    )
    return lambda *overrides: configure(*settings, *apes, *overrides)


@pytest.mark.parametrize("step", [6, 8])
def test_stop_within_or_between_stages_gives_same_weights(
    tiny: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    finetune(tiny(), tmp_path / "whole")
    saved = LastCheckpoint.on_train_batch_end

    def stop(self: LastCheckpoint, trainer: object, module: object, *rest: object) -> None:
        saved(self, trainer, module, *rest)  # type: ignore[arg-type]
        if trainer.global_step == step:  # type: ignore[attr-defined]
            raise Interrupted("killed")

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_batch_end", stop)
        with pytest.raises(Interrupted):
            finetune(tiny(), tmp_path / "cut")
    finetune(tiny(f"ckpt_path={tmp_path / 'cut'}"), tmp_path / "rest")
    whole, rest = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "rest"))
    assert whole.keys() == rest.keys()
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_checkpoint_of_other_stages_or_species_is_refused(
    tiny: Callable[..., DictConfig], tmp_path: Path
) -> None:
    finetune(tiny("train.max_steps=5"), tmp_path / "run")
    for override, named in (
        ("data.length_warmup.steps=3", "data.length_warmup"),
        ("data.test=[chr3]", "data.test"),
        ("data.species.gorilla=null", "data.species"),
    ):
        with pytest.raises(UserError, match="is of another run") as error:
            finetune(tiny(override, f"ckpt_path={tmp_path / 'run'}"), tmp_path / "again")
        assert named in str(error.value)


def test_simulated_species_is_named_so_in_every_prediction(
    tiny: Callable[..., DictConfig], tmp_path: Path
) -> None:
    results = finetune(tiny(), tmp_path / "run")
    assert results["labels"] == ["human", "gorilla", "orangutan"]
    assert results["test"]["examples"] == 30
    rows = (tmp_path / "run" / "predictions.tsv").read_text().splitlines()
    assert len(rows) == 1 + 12 + 30
    assert all("_SIMULATED|chr" in row for row in rows[1:])


@pytest.mark.parametrize(
    "fit",
    [
        (),
        (
            "task.fit=closed",
            "task.refit=true",
            "decoder.mode=next",
            "data.length_warmup.first_length=16",
            "data.length_warmup.steps=8",
        ),
    ],
    ids=["gradient", "closed"],
)
def test_a_model_can_tell_species_that_differ(
    configure: Callable[..., DictConfig], tmp_path: Path, fit: tuple[str, ...]
) -> None:
    # One species is poor in G and C: windows of it are told by their composition alone.
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    for name, odds in (("rich", (0.1, 0.4, 0.4, 0.1)), ("poor", (0.4, 0.1, 0.1, 0.4))):
        records = [f">{name}|{i}\n{rng.choice(letters, 2000, p=odds).tobytes().decode()}\n" for i in range(4)]
        (tmp_path / f"{name}.fa").write_text("".join(records))
    results = finetune(
        configure(
            "data=species",
            "model=scratch",
            "scratch.d_model=16",
            "scratch.n_layer=1",
            *(f"+data.species.{name}={tmp_path / name}.fa" for name in ("rich", "poor")),
            "data.split=record",
            "data.valid=['0']",
            "data.test=['1']",
            "data.max_length=32",
            "data.batch_size=16",
            "data.valid_windows=20",
            "data.test_windows=200",
            "train.max_steps=40",
            "train.global_batch_size=16",
            "train.learning_rate=1e-2",
            "task.bootstrap=10",
            "task.baselines=false",
            *fit,
        ),
        tmp_path / "run",
    )
    assert results["test"]["accuracy"]["value"] > 0.95


def test_every_number_of_the_paper_has_an_experiment() -> None:
    assert set(EXPERIMENTS) == {f"apes/2p{log2}_{size}" for log2 in PAPER for size in ("1m4", "7m")}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_of_the_paper(configure: Callable[..., DictConfig], name: str) -> None:
    files = [
        f"data.species.{ape}={ape}.fa" for ape in ("human", "chimpanzee", "gorilla", "orangutan", "bonobo")
    ]
    cfg = configure(f"experiment={name}", *files)
    with pytest.raises(UserError, match="no model at A_MODEL_PRETRAINED_AT_THIS_LENGTH"):
        pretrained_model(cfg.model, None)
    cfg = configure(f"experiment={name}", "model=scratch", *files)
    log2, large = int(name[7:9]), name.endswith("7m")
    with torch.device("meta"):
        weights, shape, _ = pretrained_model(
            model_of(cfg.model, cfg.scratch, data_config(cfg.data).alphabet), None
        )
        parameters = sum(parameter.numel() for parameter in LanguageModel(shape).parameters())
    assert weights is None
    assert parameters == (7_010_560 if large else 1_400_448)

    train, data = typed(cfg.train, FinetuneTrainConfig, "train"), data_config(cfg.data)
    typed(cfg.task, TaskConfig, "task")
    assert train.max_steps is not None
    schedule = data.schedule(
        global_batch_size=train.global_batch_size, max_steps=train.max_steps, world_size=1
    )
    stages = [(stage.length, stage.sequences, stage.steps) for stage in schedule.stages]
    warmup = [(2**k, 64, 1024) for k in range(14, log2)]
    assert stages == [*warmup, (2**log2, 64, 10_240 - 1024 * len(warmup))]
    rate = train.schedule(schedule.max_steps)
    assert (rate(5 * 1024 - 1), rate(10_239)) == (1e-4, pytest.approx(1e-6))
    assert data.bases_at_a_time <= 2**20
    assert replace(data, alphabet="dna").labels == ("human", "chimpanzee", "gorilla", "orangutan", "bonobo")
    assert cfg.decoder.mode == "last"

    planned = plan_finetuning(cfg)
    assert [(row.length, row.sequences_per_step, row.steps) for row in planned.stages] == stages
    assert planned.memory_gib < 80

    mamba, hyena = PAPER[log2][int(large)], PAPER[log2][2]
    assert published(name) == f"published: accuracy {float(mamba)} (HyenaDNA {float(hyena)})"


def test_a_plan_is_printed_and_leaves_nothing(tmp_path: Path) -> None:
    done = processes.run("dnamamba.finetune", "mode=plan", "experiment=apes/2p20_1m4", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "is not there: planned with the shape of `scratch`, d_model=128, n_layer=12" in done.stdout
    assert "1,400,448 parameters" in done.stdout
    assert "1,048,576" in done.stdout
    assert "10,240 steps" in done.stdout
    assert not list(tmp_path.glob("logs/finetune/runs/*"))


def test_what_cannot_be_planned(configure: Callable[..., DictConfig]) -> None:
    with pytest.raises(UserError, match=r"^data\.max_length: a plan needs the length"):
        plan_finetuning(configure("data.table=x.csv"))
    assert [stage.length for stage in plan_finetuning(configure()).stages] == [256]
    with pytest.raises(UserError, match=r"^trainer\.num_nodes: must be a number of at least 1"):
        plan_finetuning(configure("data.max_length=512", "trainer.num_nodes=0"))
    planned = plan_finetuning(configure("data.max_length=512", "train.max_steps=7"))
    assert [(row.length, row.sequences_per_step, row.steps) for row in planned.stages] == [(512, 32, 7)]
