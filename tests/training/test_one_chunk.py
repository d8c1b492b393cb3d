"""Short sequences, a micro-batch a chunk: on a CPU as tapes of operations, on a GPU as CUDA graphs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dnamamba import FinetuneTrainConfig, Finetuning, LabelledConfig, UserError
from dnamamba.data.length_schedule import Stage
from dnamamba.models import DecoderConfig, MambaConfig, SequenceModel
from dnamamba.models.mamba.backbone import MambaBackbone
from dnamamba.objectives.sequence import SequenceObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training import chunk_graphs, chunk_size
from dnamamba.training import run as run_module
from dnamamba.training.config import TrainerConfig
from dnamamba.training.tuned import Pooling

from .taped import Taped

pytestmark = pytest.mark.usefixtures("undrawn")
LENGTH = 20
SHAPE = MambaConfig(d_model=8, n_layer=2)


def data(length: int | None = 300, rows: int = 32, chunk: int | None = None) -> Any:
    stage = Stage(0, length or 300, rows, 0, 10)
    return SimpleNamespace(
        chunk=chunk,
        common_length=length,
        schedule=SimpleNamespace(stages=[stage]),
        micro_batch=lambda batch: rows,
    )


def trainer(kind: str = "cuda", world_size: int = 1, precision: str = "bf16-mixed") -> Any:
    strategy = SimpleNamespace(root_device=torch.device(kind))
    return SimpleNamespace(strategy=strategy, world_size=world_size, precision=precision)


@pytest.mark.parametrize(
    ("train", "read", "device", "taken"),
    [
        ({}, {}, {}, True),
        ({"chunk_graphs": True}, {}, {}, True),
        ({"chunk_graphs": True}, {"rows": 4096}, {}, True),
        ({}, {"mode": "positions"}, {}, False),  # reads all positions together: not a sum over chunks
        ({"chunk_graphs": True}, {"mode": "positions"}, {}, False),
        ({}, {"rows": 4096}, {}, False),  # kernels take longer than launches
        ({}, {"frozen": True}, {}, False),
        ({"chunk_graphs": False}, {}, {}, False),
        ({"compile": True}, {}, {}, False),
        ({"activation_checkpointing": True}, {}, {}, False),
        ({}, {"length": None}, {}, False),
        ({}, {"chunk": 30}, {}, False),
        ({}, {}, {"kind": "cpu"}, False),
        ({}, {}, {"world_size": 2}, False),
        ({}, {}, {"precision": "16-mixed"}, False),  # has a scale of its own
    ],
)
def test_graphs_are_taken_for_short_sequences_of_one_length(
    train: dict[str, Any],
    read: dict[str, Any],
    device: dict[str, Any],
    taken: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = dict(read)
    mode, frozen = read.pop("mode", "mean"), read.pop("frozen", False)
    decoder = DecoderConfig("classification", ("a", "b"), mode, length=300 if mode == "positions" else None)
    model = SequenceModel(MambaConfig(d_model=128, n_layer=1), decoder)
    model.backbone.requires_grad_(not frozen)
    objective = SequenceObjective(decoder, TaskConfig(), None, "right")
    settings = FinetuneTrainConfig(**train)
    parts = settings, model, objective, data(**read), trainer(**device)
    assert chunk_size.one_chunk_by_graphs(*parts) is taken
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert not chunk_size.one_chunk_by_graphs(*parts)
    monkeypatch.undo()
    model.backbone.__class__ = type("Other", (MambaBackbone,), {"capturable": False})
    assert not chunk_size.one_chunk_by_graphs(*parts)


@pytest.mark.parametrize(
    ("chunk", "device", "named"),
    [
        (
            None,
            {"world_size": 2, "precision": "16-mixed"},
            "sequences are read whole (train.chunk_bases) and have no common length; several processes read "
            "whole sequences; trainer.precision is 16-mixed; train.compile compiles whole sequences; a "
            "part of the backbone is not trained; the head reads all positions of a sequence together",
        ),
        (
            30,
            {"kind": "cpu"},
            "train.backpropagation=truncated reads chunks another way; nothing of the backbone is trained; "
            "the run is not on a CUDA GPU",
        ),
    ],
)
def test_graphs_that_can_not_be_name_all_obstacles(
    chunk: int | None, device: dict[str, Any], named: str
) -> None:
    decoder = DecoderConfig("classification", ("a", "b"), "positions", length=300)
    model = SequenceModel(MambaConfig(d_model=8, n_layer=1), decoder)
    model.backbone.requires_grad_(False)
    truncated = {"backpropagation": "truncated", "chunk_bases": chunk}
    own: dict[str, Any] = {"compile": True} if chunk is None else truncated
    settings = FinetuneTrainConfig(chunk_graphs=True, **own)
    objective = SequenceObjective(decoder, TaskConfig(), None, "right")
    read = data(None, chunk=chunk)
    read.context_size = 1
    with pytest.raises(UserError) as error:
        chunk_size.by_graphs(settings, model, objective, read, trainer(**device))
    assert str(error.value) == (
        f"train.chunk_graphs: chunks can't be CUDA graphs where {named} (got true); set auto or false"
    )


def test_a_run_by_graphs_equals_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(0, 4, (40, LENGTH), generator=generator).tolist()
    lines = ["".join("ACGT"[base] for base in row) + f",{'ab'[row[9] // 2]}" for row in rows]
    (tmp_path / "table.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")

    def done(name: str) -> Any:
        return Finetuning(
            tmp_path / name,
            LabelledConfig(
                table=str(tmp_path / "table.csv"), batch_size=3, reverse_complement=False, stratify=True
            ),
            SHAPE,
            Pooling("mean"),
            TaskConfig(bootstrap=1, baselines=False),
            train=FinetuneTrainConfig(max_steps=2, global_batch_size=8, validate_every=2, log_every=1),
            trainer=TrainerConfig(precision="64-true"),
            quiet=True,
        ).run()

    without = done("without")
    made: list[Taped] = []
    monkeypatch.setattr(chunk_graphs, "CudaGraphs", lambda: made.append(Taped()) or made[-1])
    monkeypatch.setattr(run_module, "one_chunk_by_graphs", lambda *_: True)
    found = done("graphs")
    # Micro-batches of 3, 3 and 2 rows: two shapes. A chunk's pooled vector is read ahead of the loss.
    assert [(taped.captures, taped.replays) for taped in made if taped.replays] == [(2, 12)]
    for name, weight in without.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], weight, rtol=1e-9, atol=1e-12)
    kept = [row["train/loss"] for row in found.history if "train/loss" in row]
    assert kept == pytest.approx([row["train/loss"] for row in without.history if "train/loss" in row])
