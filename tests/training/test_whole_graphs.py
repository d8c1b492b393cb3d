"""Whole micro-batches over fixed buffers: on a CPU as tapes of operations, on a GPU as CUDA graphs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dnamamba import FinetuneTrainConfig, Finetuning, LabelledConfig
from dnamamba.data.length_schedule import Stage
from dnamamba.heads.regression import Regression
from dnamamba.models import DecoderConfig, MambaConfig, SequenceModel
from dnamamba.models.mamba.backbone import MambaBackbone
from dnamamba.objectives.base import Batch
from dnamamba.objectives.sequence import SequenceObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training import chunk_graphs, chunk_size, whole_graphs
from dnamamba.training import run as run_module
from dnamamba.training.config import TrainerConfig
from dnamamba.training.tuned import Pooling
from dnamamba.training.whole_graphs import WholeGraphs

from .taped import Taped

LENGTH = 20
SHAPE = MambaConfig(d_model=8, n_layer=2)


def batch(kind: str, seed: int, rows: int = 3) -> Batch:
    """Rows of 20 bases, N within, and padding up to 24."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 5, (rows, 24), generator=generator).to(torch.uint8)
    labels = torch.randint(0, 2, (rows,) if kind == "classification" else (rows, 2), generator=generator)
    if kind == "regression":
        labels = torch.randn(rows, 1, generator=generator, dtype=torch.float64)
    return {
        "tokens": tokens,
        "lengths": torch.full((rows,), LENGTH),
        "labels": labels if kind != "multilabel" else labels.float(),
        "index": torch.arange(rows),
    }


@pytest.mark.parametrize(
    ("kind", "reader"),
    [
        ("classification", {"mode": "mean"}),
        ("classification", {"mode": "positions", "context": "both", "conv": 2, "length": LENGTH}),
        ("multilabel", {"mode": "attention", "context": "both"}),
        ("regression", {"mode": "next", "strand": "both"}),
        ("regression", {"mode": "last"}),
    ],
    ids=lambda value: value if isinstance(value, str) else value["mode"],
)
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16"])
def test_gradients_have_the_bits_of_steps_without_graphs(
    kind: str, reader: dict[str, Any], half: bool
) -> None:
    torch.manual_seed(0)
    decoder = DecoderConfig(kind, ("number",) if kind == "regression" else ("a", "b"), **reader)
    model = SequenceModel(SHAPE, decoder, backend="chunked").train()
    objective = SequenceObjective(decoder, TaskConfig(), None, "right")
    assert objective.loss_capturable
    taped, own = Taped(), list(model.parameters())
    graphs = WholeGraphs(lambda part: objective.loss_sum(model, part), own, taped)
    with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
        for seed, rows in ((0, 3), (1, 3), (2, 2)):
            with torch.no_grad():  # a step of an optimiser between two uses
                for parameter in own:
                    parameter.add_(0.01 * torch.ones_like(parameter))
            part, targets = batch(kind, seed, rows), torch.tensor(7.0)
            model.zero_grad()
            loss = objective.loss_sum(model, part) / targets
            with torch.autocast("cpu", enabled=False):
                loss.backward()
            expected = [parameter.grad for parameter in own]
            model.zero_grad()
            assert graphs(part, targets, torch.Tensor.backward) == loss.detach()
            for parameter, gradient in zip(own, expected, strict=True):
                assert torch.equal(parameter.grad, gradient)
    assert (taped.captures, taped.replays) == (2, 3)


def test_a_derived_head_is_not_captured_unless_it_says_so() -> None:
    class Own(Regression):
        pass

    class Safe(Regression):
        capturable = True

    decoder = DecoderConfig("regression", ("number",), "mean")
    objective = SequenceObjective(decoder, TaskConfig(), None, "right")
    for head, captured in ((Own, False), (Safe, True)):
        objective.head = head(decoder)
        assert objective.loss_capturable is captured


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
    ("train", "read", "device", "how"),
    [
        ({}, {}, {}, "chunk"),
        ({"chunk_graphs": True}, {}, {}, "step"),
        ({"chunk_graphs": True}, {"mode": "positions"}, {}, "step"),
        ({"chunk_graphs": True}, {"rows": 4096}, {}, "step"),
        ({}, {"mode": "positions"}, {}, None),  # reads all positions together: not a sum over chunks
        ({}, {"rows": 4096}, {}, None),  # kernels take longer than launches
        ({}, {"frozen": True}, {}, None),
        ({"chunk_graphs": False}, {}, {}, None),
        ({"compile": True}, {}, {}, None),
        ({"activation_checkpointing": True}, {}, {}, None),
        ({}, {"length": None}, {}, None),
        ({}, {"chunk": 30}, {}, None),
        ({}, {}, {"kind": "cpu"}, None),
        ({}, {}, {"world_size": 2}, None),
        ({}, {}, {"precision": "16-mixed"}, None),  # has a scale of its own
    ],
)
def test_graphs_are_taken_for_short_sequences_of_one_length(
    train: dict[str, Any],
    read: dict[str, Any],
    device: dict[str, Any],
    how: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = dict(read)
    mode, frozen = read.pop("mode", "mean"), read.pop("frozen", False)
    decoder = DecoderConfig("classification", ("a", "b"), mode, length=300 if mode == "positions" else None)
    model = SequenceModel(MambaConfig(d_model=128, n_layer=1), decoder)
    model.backbone.requires_grad_(not frozen)
    objective = SequenceObjective(decoder, TaskConfig(), None, "right")
    settings = FinetuneTrainConfig(**train)
    found = chunk_size.whole_by_graphs(settings, model, objective, data(**read), trainer(**device))
    assert found == how
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert chunk_size.whole_by_graphs(settings, model, objective, data(**read), trainer(**device)) is None
    monkeypatch.undo()
    model.backbone.__class__ = type("Other", (MambaBackbone,), {"capturable": False})
    assert chunk_size.whole_by_graphs(settings, model, objective, data(**read), trainer(**device)) is None


@pytest.mark.parametrize(
    ("how", "pooling", "captures", "replays"),
    [
        # Micro-batches of 3, 3 and 2 rows: two shapes. A chunk's pooled vector is read ahead of the loss.
        ("step", Pooling("positions", context="both"), 2, 6),
        ("chunk", Pooling("mean"), 2, 12),
    ],
)
def test_a_run_by_graphs_equals_one_without(
    how: str,
    pooling: Pooling,
    captures: int,
    replays: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
            pooling,
            TaskConfig(bootstrap=1, baselines=False),
            train=FinetuneTrainConfig(max_steps=2, global_batch_size=8, validate_every=2, log_every=1),
            trainer=TrainerConfig(precision="64-true"),
            quiet=True,
        ).run()

    without = done("without")
    made: list[Taped] = []
    for module in (whole_graphs, chunk_graphs):
        monkeypatch.setattr(module, "CudaGraphs", lambda: made.append(Taped()) or made[-1])
    monkeypatch.setattr(run_module, "whole_by_graphs", lambda *_: how)
    found = done("graphs")
    assert [(taped.captures, taped.replays) for taped in made if taped.replays] == [(captures, replays)]
    for name, weight in without.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], weight, rtol=1e-9, atol=1e-12)
    kept = [row["train/loss"] for row in found.history if "train/loss" in row]
    assert kept == pytest.approx([row["train/loss"] for row in without.history if "train/loss" in row])
