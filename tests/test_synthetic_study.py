"""studies/synthetic.py and studies/synthetic_graphs.py: what they report, and that a run resumes."""

import csv
import json
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """Both programs."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "studies")
    import synthetic
    import synthetic_graphs

    return synthetic, synthetic_graphs


def test_report_has_lengths_and_curve_without_final_scores(
    studies: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic = studies[0]
    monkeypatch.setattr(synthetic, "save_figure", lambda *_: None)
    job = synthetic.Job("induction_heads", 3, tmp_path)
    job.folder.mkdir()
    rows = [{"length": 64, "right": 3, "answers": 4}, {"length": 128, "right": 1, "answers": 4}]
    (job.folder / "tested.json").write_text(json.dumps({"steps": 20, "rows": rows}))
    (job.folder / "metrics.csv").write_text("step,val/accuracy\n9,0.25\n19,0.5\n20,0.75\n")
    synthetic.reported([job], tmp_path)
    with (tmp_path / "accuracy.csv").open() as file:
        found = [
            (row["seed"], row["steps"], row["length"], float(row["accuracy"])) for row in csv.DictReader(file)
        ]
    assert found == [("3", "20", "64", 0.75), ("3", "20", "128", 0.25)]
    with (tmp_path / "curves.csv").open() as file:
        assert [(row["step"], row["accuracy"]) for row in csv.DictReader(file)] == [
            ("10", "0.25"),
            ("20", "0.5"),
        ]


def test_run_by_graphs_resumes_bit_for_bit(
    studies: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU without graphs: four steps, and two and two; the steps of both take other blocks."""
    synthetic, graphs = studies
    small = ["data.max_length=16", "data.test_lengths=[16]", "data.valid_examples=4", "data.test_examples=4"]
    weights = {}
    for seed, ends in ((0, (4,)), (0, (2, 4))):
        job = synthetic.Job("induction_heads", seed, tmp_path / str(len(ends)))
        for end in ends:
            monkeypatch.setattr(graphs, "STEPS", 3 if len(ends) == 1 else 2)
            more = [*small, f"train.max_steps={end}", f"train.validate_every={end}"]
            run = graphs.Run(job, torch.device("cpu"), more)
            graphs.trained([run], math.inf)
        assert run.steps == 4
        weights[len(ends)] = run.model.state_dict()
        graphs.tested([run])
        assert [row["length"] for row in json.loads((job.folder / "tested.json").read_text())["rows"]] == [16]
    for name, tensor in weights[1].items():
        assert torch.equal(weights[2][name], tensor), name


def test_seed_trained_beside_another_equals_itself_alone(
    studies: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    synthetic, graphs = studies
    small = ["data.max_length=16", "data.valid_examples=4", "train.max_steps=3", "train.validate_every=2"]

    def after(*seeds: int) -> dict[str, torch.Tensor]:
        jobs = [synthetic.Job("induction_heads", seed, tmp_path / str(len(seeds))) for seed in seeds]
        runs = [graphs.Run(job, torch.device("cpu"), small) for job in jobs]
        graphs.trained(runs, math.inf)
        assert [run.steps for run in runs] == [3] * len(seeds)
        return runs[-1].model.state_dict()

    alone, beside = after(1), after(0, 1)
    for name, tensor in alone.items():
        assert torch.equal(beside[name], tensor), name
