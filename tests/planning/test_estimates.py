"""Estimates of memory and time are near what was measured."""

import csv
from pathlib import Path

import pytest

from dnamamba.data.length_schedule import Stage
from dnamamba.models import StepCost
from dnamamba.planning.cost import DEVICES, GIB, chunked_bytes
from dnamamba.planning.plan import plan
from dnamamba.training.config import TrainConfig
from tests.planning.test_pretraining import MODELS

MEASUREMENTS = Path(__file__).parents[2] / "docs" / "measurements"


def measured() -> list[tuple[str, str, int, int, bool, float, float]]:
    """Device, model, batch, length, checkpointing, milliseconds and GiB of every step that was measured."""
    rows = []
    for name in ("training_step_h100.csv", "training_step_h200.csv", "longest_step_h200.csv"):
        device = name.removesuffix(".csv").rpartition("_")[2]
        for row in csv.DictReader((MEASUREMENTS / name).read_text().splitlines()):
            shape = int(row.get("batch", 1)), int(row.get("length") or row["bases_per_step"])
            checkpointing = row.get("checkpointing") == "True"
            took = float(row["step_ms"]), float(row["peak_gib"])
            rows.append((device, row["model"], *shape, checkpointing, *took))
    return rows


@pytest.mark.parametrize(
    ("device", "model", "batch", "length", "checkpointing", "milliseconds", "gib"), measured()
)
def test_estimates_are_near_what_was_measured(
    device: str, model: str, batch: int, length: int, checkpointing: bool, milliseconds: float, gib: float
) -> None:
    made = plan(
        [Stage(0, length, batch, 0, 100)],
        MODELS[model],
        bases_at_a_time=batch * length,
        train=TrainConfig(activation_checkpointing=checkpointing),
        device=DEVICES[device],
    )
    assert made.seconds == pytest.approx(milliseconds / 10, rel=0.25)
    assert made.memory_gib == pytest.approx(gib, rel=0.15)


def measured_by_chunks() -> list[tuple[str, int, int, bool, float, float]]:
    """Model, length, chunk, by graphs, milliseconds and GiB of each step by chunks measured on an H100."""
    rows = csv.DictReader((MEASUREMENTS / "chunks_h100.csv").read_text().splitlines())
    return [
        (
            row["model"],
            int(row["length"]),
            int(row["chunk"]),
            row["graphs"] == "True",
            float(row["ms"]),
            float(row["peak_gib"]),
        )
        for row in rows
        if row["chunk"] != "whole"
    ]


@pytest.mark.parametrize(("model", "length", "chunk", "graphs", "milliseconds", "gib"), measured_by_chunks())
def test_estimates_of_chunks_are_near_what_was_measured(
    model: str, length: int, chunk: int, graphs: bool, milliseconds: float, gib: float
) -> None:
    made = plan(
        [Stage(0, length, 1, 0, 100)],
        MODELS[model],
        bases_at_a_time=length,
        train=TrainConfig(chunk_bases=chunk, chunk_graphs=graphs),
        device=DEVICES["h100"],
    )
    assert (made.chunk_bases, made.graphs) == (chunk, graphs)
    assert made.seconds == pytest.approx(milliseconds / 10, rel=0.15)
    assert made.memory_gib == pytest.approx(gib, rel=0.15)


def measured_together() -> list[dict[str, str]]:
    """Steps on one and two H200: a sequence on both, or one on each."""
    return list(csv.DictReader((MEASUREMENTS / "context_h200.csv").read_text().splitlines()))


@pytest.mark.parametrize("row", measured_together(), ids=lambda row: "-".join(list(row.values())[:5]))
def test_estimates_of_several_gpus_are_near_what_was_measured(row: dict[str, str]) -> None:
    gpus, length = int(row["gpus"]), int(row["bases_of_a_sequence"])
    chunk = None if row["chunk_of_a_gpu"] == "whole" else int(row["chunk_of_a_gpu"])
    together = row["how"] == "context"
    made = plan(
        [Stage(0, length, 1 if together else gpus, 0, 100)],
        MODELS[row["model"]],
        bases_at_a_time=length,
        processes=gpus,
        context_size=gpus if together else 1,
        train=TrainConfig(chunk_bases=chunk, chunk_graphs=False),
        device=DEVICES["h200"],
    )
    assert made.seconds == pytest.approx(float(row["step_ms"]) / 10, rel=0.15)
    assert made.memory_gib == pytest.approx(float(row["peak_gib_of_a_gpu"]), rel=0.15)


@pytest.mark.parametrize(
    ("shape", "parameters", "length", "chunk", "gib"),
    [
        (StepCost(256, 12), 1_400_448, 2**16, 2**16, 5.460),
        (StepCost(256, 12), 1_400_448, 2**16, 2**12, 0.392),
        (StepCost(256, 12), 1_400_448, 230_217, 2**12, 0.398),
        (StepCost(256, 4), 467_000, 2**15, 2**13, 0.328),
        (StepCost(256, 4), 467_000, 2**15, 2**14, 0.566),
        (StepCost(128, 2), 65_984, 2**17, 2**15, 0.437),
        (StepCost(128, 2), 65_984, 1_531_932, 2**14, 0.241),
    ],
)
def test_memory_on_a_cpu_is_near_what_was_measured(
    shape: StepCost, parameters: int, length: int, chunk: int, gib: float
) -> None:
    found = chunked_bytes(
        shape, parameters, sequences=1, length=length, chunk=chunk, a_step=length, on_cpu=True
    )
    assert found / GIB == pytest.approx(gib, rel=0.15)
