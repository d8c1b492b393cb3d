"""Several targets per sequence: losses and metrics of each by hand, trained, predicted and evaluated."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from dnamamba import DecoderConfig, UserError, load
from dnamamba.commands.finetune import finetune
from dnamamba.commands.predict import PredictConfig, predict_to_file
from dnamamba.config import composed
from dnamamba.heads.classification import Classification
from dnamamba.heads.regression import Regression
from tests.finetuning.conftest import SHORT, rows_of

Configure = Callable[..., DictConfig]
TARGETS = "data.targets={expression: regression, tissue: classification, half: regression}"


def write_table(path: Path, number: int = 60) -> Path:
    """Expression follows the share of G and C, tissue whether it is above a half; some lack `half`."""
    rng = np.random.default_rng(0)
    rows = []
    for place in range(number):
        share = rng.random()
        p = 0.4 * (1 - share) + 0.1 * share
        bases = "".join(rng.choice(list("ACGT"), rng.integers(20, 40), p=[p, 0.5 - p, 0.5 - p, p]))
        tissue = "leaf" if share > 0.5 else "root"
        half = "" if place % 4 == 0 else f"{share / 2:.4f}"
        split = ("train", "train", "valid", "test")[place // 4 % 4]
        rows.append(f"s{place},{bases},{100 + 50 * share:.3f},{tissue},{half},{split}\n")
    path.write_text("id,sequence,expression,tissue,half,split\n" + "".join(rows))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multitask")
    table = write_table(folder / "t.csv")
    finetune(composed("finetune", [*SHORT, f"data.table={table}", TARGETS]), folder / "run")
    return folder


def test_metrics_of_each_target_follow_from_predictions(trained: Path) -> None:
    found = json.loads((trained / "run" / "metrics.json").read_text())["test"]
    rows = [row for row in rows_of(trained / "run" / "predictions.tsv") if row["split"] == "test"]
    truth = [dict(cell.split("=") for cell in row["label"].split(";")) for row in rows]
    for name in ("expression", "half"):
        pairs = [(float(t[name]), float(r[name])) for t, r in zip(truth, rows, strict=True) if t[name]]
        assert len(pairs) == (12 if name == "expression" else 9)
        y, p = np.array(pairs).T
        assert found[f"{name}.pearson"]["value"] == pytest.approx(np.corrcoef(y, p)[0, 1], abs=1e-9)
        assert found[f"{name}.rmse"]["value"] == pytest.approx(math.sqrt(np.mean((y - p) ** 2)), rel=1e-9)
    right = np.mean([t["tissue"] == r["tissue.predicted"] for t, r in zip(truth, rows, strict=True)])
    assert found["tissue.accuracy"]["value"] == pytest.approx(right)
    names = ("expression.pearson", "tissue.accuracy", "half.pearson")
    mean = np.mean([found[name]["value"] for name in names])
    assert found["score"]["value"] == pytest.approx(mean)


def test_prediction_evaluates_every_target(trained: Path) -> None:
    out = trained / "p.tsv"
    config = PredictConfig(str(trained / "run"), str(out), table=str(trained / "t.csv"), evaluate=True)
    predict_to_file(config)
    columns = rows_of(out)[0]
    assert {"expression", "half", "tissue.predicted", "tissue.p_leaf", "tissue.p_root"} <= set(columns)
    metrics = json.loads((trained / "p.metrics.json").read_text())
    assert metrics["sequences"] == 60
    assert metrics["metrics"]["expression.pearson"] is not None
    # The same from a FASTA and its sheet of targets.
    sheet = [line.split(",") for line in (trained / "t.csv").read_text().splitlines()]
    (trained / "t.fa").write_text("".join(f">{row[0]}\n{row[1]}\n" for row in sheet[1:]))
    (trained / "l.csv").write_text("".join(",".join([row[0], *row[2:5]]) + "\n" for row in sheet))
    again = PredictConfig(
        str(trained / "run"),
        str(trained / "q.tsv"),
        fasta=str(trained / "t.fa"),
        labels=str(trained / "l.csv"),
    )
    predict_to_file(again)
    assert json.loads((trained / "q.metrics.json").read_text())["metrics"] == metrics["metrics"]
    by_run = {row["id"]: row["expression"] for row in rows_of(trained / "run" / "predictions.tsv")}
    for row in rows_of(out):
        if row["id"] in by_run:
            assert float(row["expression"]) == pytest.approx(float(by_run[row["id"]]), rel=1e-5)


def test_saved_question_is_read_again(trained: Path) -> None:
    decoder = load(trained / "run").decoder
    assert decoder.labels == ("expression", "tissue=leaf", "tissue=root", "half")
    assert [task["name"] for task in decoder.tasks] == ["expression", "tissue", "half"]
    assert DecoderConfig.from_dict(decoder.to_dict()) == decoder


def test_loss_is_the_mean_of_that_of_each_target() -> None:
    tasks = [
        {"name": "x", "kind": "regression", "labels": 1, "shift": 2.0, "scale": 3.0},
        {"name": "y", "kind": "classification", "labels": 2, "shift": 0.0, "scale": 1.0},
    ]
    decoder = DecoderConfig("multitask", ("x", "y=a", "y=b"), tasks=tasks)
    head = decoder.head
    torch.manual_seed(0)
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1.0, 0], [5, 1], [math.nan, 1], [2, math.nan]], dtype=torch.float64)
    number = Regression(DecoderConfig("regression", ("x",), shift=2.0, scale=3.0))
    kind = Classification(DecoderConfig("classification", ("a", "b")))
    x = number.loss(logits[:, :1], labels[:, :1].nan_to_num(), None, 0.0)
    y = kind.loss(logits[:, 1:], labels[:, 1].nan_to_num().long(), None, 0.0)
    x, y = x * torch.tensor([1, 1, 0, 1]), y * torch.tensor([1, 1, 1, 0])
    found = head.loss(logits, labels, None, 0.0)
    torch.testing.assert_close(found, (x + y) / 2)
    weights = head.class_weights({"x": 1, "y": 3}, [], 0)
    torch.testing.assert_close(head.loss(logits, labels, weights, 0.0), (x + 3 * y) / 4)
    found.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[2, 0] == 0
    assert head.written(labels[2]) == "x=;y=b"


def test_effects_are_in_the_unit_of_their_target() -> None:
    tasks = [
        {"name": "x", "kind": "regression", "labels": 1, "shift": 2.0, "scale": 3.0},
        {"name": "y", "kind": "classification", "labels": 3, "shift": 0.0, "scale": 1.0},
    ]
    head = DecoderConfig("multitask", ("x", "y=a", "y=b", "y=c"), tasks=tasks).head
    logits = torch.tensor([[0.5, 1.0, -1.0, 0.0]], dtype=torch.float64)
    assert head.effect(logits, 0).item() == 3.5
    p = math.exp(-1) / (math.exp(1) + math.exp(-1) + 1)
    assert head.effect(logits, 2).item() == pytest.approx(math.log(p / (1 - p)), rel=1e-12)
    assert [head.effect_unit(number) for number in (0, 2)] == ["the unit of the labels", "natural log odds"]


def test_constant_predictions_count_zero_in_the_score() -> None:
    tasks = [
        {"name": "x", "kind": "regression", "labels": 1, "shift": 0.0, "scale": 1.0},
        {"name": "y", "kind": "classification", "labels": 2, "shift": 0.0, "scale": 1.0},
    ]
    head = DecoderConfig("multitask", ("x", "y=a", "y=b"), tasks=tasks).head
    labels = torch.tensor([[1.0, 0], [5, 0], [2, 0], [4, 1]], dtype=torch.float64)
    constant = torch.tensor([[3.0, 1, 0]], dtype=torch.float64).repeat(4, 1)
    found = head.metrics(constant, labels)
    assert math.isnan(found["x.pearson"])
    assert found["score"] == 0.375  # accuracy 0.75 and no correlation: not 0.75
    labels[:, 0] = 2  # nothing to correlate with: y alone is measured
    assert head.metrics(constant, labels)["score"] == 0.75
    assert math.isnan(head.metrics(constant.fill_(math.inf), labels)["score"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "data.targets={expression: number}",
            "data.targets.expression: must be classification or",
        ),
        ("data.targets={}", "data.targets: is empty; give a value or leave the key out"),
        ("data.targets={weight: regression}", "no column weight; its columns are id, sequence, expression"),
        ("data.targets={tissue: regression}", "data.targets.tissue: .* are not finite numbers, the first is"),
        ("data.task=regression", "data.targets: has the kind of each target; leave out data.task"),
        ("task.class_weights=balanced", "task.class_weights: of several targets, null or a positive weight"),
    ],
)
def test_unusable_targets_are_one_line(tmp_path: Path, override: str, words: str) -> None:
    table = write_table(tmp_path / "t.csv")
    given = [*SHORT, f"data.table={table}", *([] if "targets" in override else [TARGETS]), override]
    with pytest.raises(UserError, match=words):
        finetune(composed("finetune", given), tmp_path / "run")


def test_target_without_training_sequence_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv")
    rows = [line.split(",") for line in table.read_text().splitlines()]
    cut = [[*row[:4], "", row[5]] if row[5] == "train" else row for row in rows]
    table.write_text("".join(",".join(row) + "\n" for row in cut))
    with pytest.raises(UserError, match=r"data.targets.half: no training sequence has it"):
        finetune(composed("finetune", [*SHORT, f"data.table={table}", TARGETS]), tmp_path / "run")
