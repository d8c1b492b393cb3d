"""`train.chunk_bases` in whole runs: the losses and weights of runs that read sequences whole."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from dnamamba import (
    FinetuneTrainConfig,
    Finetuning,
    GenomeConfig,
    LabelledConfig,
    LanguageModel,
    MambaConfig,
    Pretraining,
    TrainConfig,
    TrainerConfig,
    UserError,
)
from dnamamba.data.length_schedule import Stage
from dnamamba.datasets.genome.config import LengthWarmup
from dnamamba.models.mamba.backbone import MambaBackbone
from dnamamba.objectives.next_base import NextBase
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.planning import cost
from dnamamba.training import chunk_graphs, chunk_size
from dnamamba.training import run as run_module
from dnamamba.training.run import Result
from dnamamba.training.tuned import Pooling

from .taped import Taped

# In float64, so that what differs by more than rounding is wrong.
EXACT = TrainerConfig(precision="64-true")
pytestmark = pytest.mark.usefixtures("undrawn")
SHAPE = MambaConfig(d_model=16, n_layer=2)


def pretraining(folder: Path, genome: Path, data: dict[str, Any] | None = None, **train: Any) -> Pretraining:
    """A run of a second: windows of 8, 16 and 32 bases of three records, one with a run of N."""
    steps = {"max_steps": 6, "global_batch_size": 8, "validate_every": 3, "checkpoint_every": 6}
    settings = {
        "max_length": 32,
        "batch_size": 4,
        "length_warmup": LengthWarmup(8, steps=1),
        "valid_windows": 8,
        "markov_orders": [0],
    }
    return Pretraining(
        folder,
        data=GenomeConfig(fasta=str(genome), valid=["two"], test=["three"], **(settings | (data or {}))),
        model=SHAPE,
        train=TrainConfig(log_every=1, **(steps | train)),
        trainer=EXACT,
        quiet=True,
    )


def done(run: Pretraining | Finetuning) -> Result:
    result = run.run()
    assert result is not None
    return result


def check_same(found: Result, expected: Result) -> None:
    """Every logged loss, and the weights."""
    for name in ("train/loss", "val/loss", "val/bits_per_base", "test/bits_per_base"):
        ours, theirs = ([row[name] for row in run.history if name in row] for run in (found, expected))
        assert ours == pytest.approx(theirs, rel=1e-6), name  # torchmetrics adds up in float32
    for name, weight in expected.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], weight, rtol=1e-4, atol=1e-7, msg=name)


@pytest.mark.parametrize("chunk", [7, 16])
def test_pretraining_by_chunks_equals_reading_windows_whole(chunk: int, genome: Path, tmp_path: Path) -> None:
    whole = done(pretraining(tmp_path / "whole", genome))
    check_same(done(pretraining(tmp_path / "chunks", genome, chunk_bases=chunk)), whole)


def test_a_run_by_graphs_equals_one_without(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three stages, of which the first reads windows that are shorter than a chunk, and micro-batches."""
    without = done(pretraining(tmp_path / "without", genome, chunk_bases=14, max_steps=3))
    made: list[Taped] = []
    monkeypatch.setattr(chunk_graphs, "CudaGraphs", lambda: made.append(Taped()) or made[-1])
    monkeypatch.setattr(run_module, "by_graphs", lambda *_: True)
    check_same(done(pretraining(tmp_path / "graphs", genome, chunk_bases=14, max_steps=3)), without)
    # Once: the two stages of longer windows read as many rows at a time.
    assert [taped.captures for taped in made if taped.replays] == [1]


ON_GPU = SimpleNamespace(
    strategy=SimpleNamespace(root_device=torch.device("cuda")), world_size=2, precision="bf16-mixed"
)


def reading(chunk: int | None, rows: int = 1, context_size: int = 1) -> Any:
    """A data module of windows of 2^20 bases, of which a process reads so many at a time."""
    schedule = SimpleNamespace(stages=[Stage(0, 2**20, 2 * rows, 0, 10)])
    return SimpleNamespace(
        chunk=chunk,
        context_size=context_size,
        schedule=schedule,
        micro_batch=lambda batch: 4,
        common_length=None,
    )


class Shared(ModelParallelStrategy):
    root_device = torch.device("cuda")

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("train", "changes", "reason"),
    [
        ({}, {}, None),
        ({"backpropagation": "truncated"}, {}, "truncated"),
        ({}, {"context_size": 2}, "talk to each other"),
        ({}, {"chunk": None}, "read whole"),
        ({}, {"trainer": SimpleNamespace(strategy=Shared())}, "fsdp"),
        ({}, {"family": False}, "family mamba is not capturable"),
        ({}, {"objective": False}, "objective NextBase is not capturable"),
        ({}, {"frozen": True}, "nothing of the backbone is trained"),
    ],
)
def test_graphs_are_taken_wherever_they_can_be(
    train: dict[str, Any], changes: dict[str, Any], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModel(SHAPE).requires_grad_(not changes.get("frozen", False))
    monkeypatch.setattr(MambaBackbone, "capturable", changes.get("family", True))
    monkeypatch.setattr(NextBase, "capturable", changes.get("objective", True))
    data = reading(changes.get("chunk", 8), context_size=changes.get("context_size", 1))
    trainer = changes.get("trainer", ON_GPU)

    def taken(asked: bool | str) -> bool:
        settings = TrainConfig(chunk_bases=8, chunk_graphs=asked, **train)
        return chunk_size.by_graphs(settings, model, NextBase(SHAPE), data, trainer)

    assert taken("auto") == (reason is None)
    assert not taken(False)
    if reason is not None:
        with pytest.raises(UserError, match=rf"train\.chunk_graphs: .*{reason}.*set auto or false"):
            taken(True)


@pytest.mark.parametrize(
    ("chunk", "rows", "width", "faster"),
    [
        (2**17, 1, 128, True),
        (2**18, 1, 128, False),
        (2**16, 3, 128, True),
        (2**16, 4, 128, False),
        (2**15, 1, 512, True),
        (2**16, 1, 512, False),
        (2**16, 8, 128, False),  # read four at a time
        (2**15, 8, 128, True),
    ],
)
def test_graphs_by_default_where_chunks_are_small(chunk: int, rows: int, width: int, faster: bool) -> None:
    with torch.device("meta"):
        model = LanguageModel(MambaConfig(d_model=width, n_layer=1, vocab_size=8))
    data = reading(chunk, rows)
    objective = NextBase(model.config)
    assert chunk_size.by_graphs(TrainConfig(chunk_bases=chunk), model, objective, data, ON_GPU) == faster
    always = TrainConfig(chunk_bases=chunk, chunk_graphs=True)
    assert chunk_size.by_graphs(always, model, objective, data, ON_GPU)


def finetuning(folder: Path, table: Path, mode: str, task: TaskConfig, **train: Any) -> Finetuning:
    """A run of a second on sequences of 5 to 90 bases, padded on the left, two micro-batches a step."""
    return Finetuning(
        folder,
        data=LabelledConfig(table=str(table), batch_size=4, padding="left", crop="start", valid_examples=9),
        model=SHAPE,
        pooling=Pooling(mode=mode, strand="both"),
        task=task,
        train=FinetuneTrainConfig(max_steps=4, global_batch_size=8, validate_every=2, log_every=1, **train),
        trainer=EXACT,
        quiet=True,
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty labelled sequences of 5 to 90 bases."""
    generator = torch.Generator().manual_seed(3)
    lines = ["sequence,label"]
    for number in range(60):
        length = int(torch.randint(5, 91, (1,), generator=generator))
        letters = torch.randint(0, 4 if number % 5 else 5, (length,), generator=generator).tolist()
        lines.append("".join("ACGTN"[letter] for letter in letters) + f",{'ab'[number % 2]}")
    path = tmp_path / "sequences.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("mode", "task"),
    [
        ("last", TaskConfig(bootstrap=1)),
        ("mean", TaskConfig(bootstrap=1, freeze=True)),
        ("next", TaskConfig(bootstrap=1, layer_decay=0.5)),
        ("mean", TaskConfig(bootstrap=1, lora_rank=2)),
    ],
    ids=["last", "mean of a frozen backbone", "next", "mean with LoRA"],
)
def test_finetuning_by_chunks_equals_reading_sequences_whole(
    mode: str, task: TaskConfig, table: Path, tmp_path: Path
) -> None:
    if task.lora_rank:
        pytest.importorskip("peft")
    whole = done(finetuning(tmp_path / "whole", table, mode, task))
    check_same(done(finetuning(tmp_path / "chunks", table, mode, task, chunk_bases=24)), whole)


def test_run_killed_within_chromosome_resumes_bit_for_bit(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chromosomes = {"max_length": "chromosome", "batch_size": 1, "length_warmup": LengthWarmup()}

    def run(name: str, ckpt_path: str | None = None) -> Pretraining:
        made = pretraining(tmp_path / name, genome, chromosomes, chunk_bases=1024, checkpoint_every=1)
        train = replace(made.train, max_steps=3, global_batch_size=2)
        return replace(made, train=train, trainer=TrainerConfig(), ckpt_path=ckpt_path)

    whole = done(run("whole"))
    forward, reads = MambaBackbone.forward, iter(range(100))

    def dies(self: MambaBackbone, *arguments: Any, **options: Any) -> Any:
        if torch.is_grad_enabled() and next(reads) == 8:  # in the second step of six chunks
            raise MemoryError
        return forward(self, *arguments, **options)

    monkeypatch.setattr(MambaBackbone, "forward", dies)
    with pytest.raises(MemoryError):
        run("killed").run()
    monkeypatch.undo()
    resumed = done(run("killed", ckpt_path="last"))
    assert [row["train/loss"] for row in resumed.history if "train/loss" in row] == [
        row["train/loss"] for row in whole.history if "train/loss" in row
    ]
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weight), name


def test_auto_reads_what_fits_the_device(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = {"max_length": "chromosome", "batch_size": 1, "length_warmup": LengthWarmup()}
    made = pretraining(tmp_path / "run", genome, longer, chunk_bases="auto", global_batch_size=1)
    assert made.build().data.chunk is None  # half of a computer holds 3,000 bases
    monkeypatch.setattr(cost, "_SHORTEST_CHUNK", 64)
    # 512 bases of 32 inner channels take 1.6 MiB, 1,024 bases 3.2 MiB.
    monkeypatch.setattr(chunk_size, "memory_at_hand", lambda device: 2.5 / 1024)
    assert made.build().data.chunk == 512
    monkeypatch.setattr(chunk_size, "memory_at_hand", lambda device: 1e-5)
    with pytest.raises(UserError, match=r"train\.chunk_bases=auto: no chunk of 1 sequences fits"):
        made.build()


def test_truncated_runs_differ_from_exact_ones(genome: Path, tmp_path: Path) -> None:
    exact, truncated = (
        done(pretraining(tmp_path / how, genome, chunk_bases=8, backpropagation=how))
        for how in ("exact", "truncated")
    )
    losses = [[row["train/loss"] for row in run.history if "train/loss" in row] for run in (exact, truncated)]
    # The first three steps are of windows that are no longer than a chunk, or differ by rounding of the loss.
    assert losses[0][0] == losses[1][0]
    assert losses[0][-1] != pytest.approx(losses[1][-1], rel=1e-6)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"chunk_bases": 0}, r"train\.chunk_bases: .*got 0"),
        ({"chunk_bases": True}, r"train\.chunk_bases: .*got True"),
        ({"chunk_bases": "all"}, r"train\.chunk_bases: .*got 'all'"),
        ({"chunk_bases": 33}, r"train\.chunk_bases: .*at most 32 bases \(got 33\); set at most 32"),
        ({"chunk_bases": 8, "chunk_graphs": "often"}, r"train\.chunk_graphs: .*got 'often'\)"),
        ({"chunk_bases": 8, "chunk_graphs": True}, r"train\.chunk_graphs: .*not on a CUDA GPU"),
        ({"chunk_graphs": True}, r"train\.chunk_graphs: .*sequences are read whole"),
        ({"chunk_bases": 8, "compile": True}, r"train\.chunk_bases: .*train\.compile"),
        ({"chunk_bases": 8, "activation_checkpointing": True}, r"train\.chunk_bases: .*activation_check"),
        ({"backpropagation": "half"}, r"train\.backpropagation: must be one of exact, truncated"),
        ({"backpropagation": "truncated"}, r"train\.backpropagation=truncated: .*chunk_bases=null"),
        (
            {"backpropagation": "truncated", "chunk_bases": "auto"},
            r"train\.backpropagation=truncated: .*chunk_bases=auto",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_of_chunks_are_refused_by_name(
    train: dict[str, Any], message: str, genome: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        pretraining(tmp_path / "run", genome, **train).build()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("capability", ["causal", "recurrent"])
def test_family_without_recurrence_is_refused_chunks(
    capability: str, genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NextBase, "needs", ())
    monkeypatch.setattr(MambaBackbone, capability, False)
    with pytest.raises(UserError, match=rf"train\.chunk_bases=8 needs a model that is {capability}"):
        pretraining(tmp_path / "run", genome, chunk_bases=8).build()


def test_an_objective_without_chunks_is_refused(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(NextBase, "chunks")
    with pytest.raises(UserError, match=r"train\.chunk_bases: the objective NextBase reads sequences whole"):
        pretraining(tmp_path / "run", genome, chunk_bases=8).build()


def test_a_head_in_closed_form_is_refused_chunks(table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.chunk_bases: .*task\.fit=closed"):
        finetuning(tmp_path / "run", table, "mean", TaskConfig(fit="closed"), chunk_bases=8).build()
