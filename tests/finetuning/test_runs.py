"""Whole fine-tunings, in this process: what they leave behind, and how they resume."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from dnamamba import SequenceModel, UserError, get_alphabet, load
from dnamamba.commands.finetune import finetune
from dnamamba.errors import Interrupted
from dnamamba.heads.base import Head
from dnamamba.models import DecoderConfig, packing
from dnamamba.reports.figures import read_metrics
from dnamamba.reports.page import page
from dnamamba.training.checkpointing import LastCheckpoint
from tests.finetuning.conftest import SHORT, Configure, pretrained, rows_of, write_table

DNA = get_alphabet("dna")


@pytest.mark.drawn
def test_a_run_leaves_everything_behind(tiny: Configure, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    results = finetune(tiny(), folder)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "checkpoints/last.ckpt",
        "checkpoints/last.ckpt.rows.json",
        "config.yaml",
        "confusion_matrix.png",
        "learning_curve.png",
        "metrics.csv",
        "metrics.json",
        "model/config.json",
        "model/model.safetensors",
        "predictions.tsv",
    }
    assert (folder / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "metrics.json").read_text()) == results
    assert results["labels"] == ["at", "gc"]
    assert (results["valid"]["examples"], results["test"]["examples"]) == (15, 15)
    assert np.sum(results["test"]["confusion"]) == 15
    assert OmegaConf.load(folder / "config.yaml").task.bootstrap == 20
    steps = [row["step"] for row in read_metrics(folder / "metrics.csv") if "train/loss" in row]
    assert steps == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("strand", ["forward", "both"])
def test_reported_numbers_are_those_of_exported_model(tiny: Configure, tmp_path: Path, strand: str) -> None:
    """Every test sequence read again, alone, with nothing but the model folder: mixed == one by one."""
    results = finetune(tiny("data.padding=left", f"decoder.strand={strand}"), tmp_path / "run")
    model = load(tmp_path / "run")
    assert isinstance(model, SequenceModel)
    assert model.decoder.strand == strand
    lines = (tmp_path / "t.csv").read_text().splitlines()
    sequences = {line.split(",")[0]: line.split(",")[1:] for line in lines}
    rows = rows_of(tmp_path / "run" / "predictions.tsv")
    assert {row["split"] for row in rows} == {"valid", "test"}
    for split in ("valid", "test"):
        answers, labels = [], []
        for row in (row for row in rows if row["split"] == split):
            bases, label, theirs = sequences[row["id"]]
            assert (row["label"], row["split"]) == (label, theirs)
            with torch.no_grad():
                p = model(torch.from_numpy(DNA.encode(bases))[None]).softmax(-1)[0]
            assert (float(row["p_at"]), float(row["p_gc"])) == pytest.approx(p.tolist(), abs=2e-6)
            assert row["predicted"] == ("at", "gc")[int(p.argmax())]
            answers.append([float(row[name]) for name in ("logit_at", "logit_gc")])
            labels.append(("at", "gc").index(label))
        logits = torch.tensor(answers, dtype=torch.float64)
        for name, value in model.decoder.head.metrics(logits, torch.tensor(labels)).items():
            assert results[split][name]["value"] == value, name


def test_it_learns(tiny: Configure, tmp_path: Path) -> None:
    results = finetune(tiny("train.max_steps=20", "train.validate_every=10"), tmp_path / "run")
    assert results["test"]["accuracy"]["value"] > 0.9
    assert results["test"]["accuracy"]["low"] <= results["test"]["accuracy"]["value"]


@pytest.mark.drawn
def test_regression_learns_in_unit_of_its_labels(configure: Configure, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", 120, "regression")
    overrides = ("data.task=regression", "train.max_steps=50", "train.validate_every=50")
    results = finetune(configure(*SHORT, f"data.table={table}", *overrides), tmp_path / "run")
    assert results["test"]["pearson"]["value"] > 0.7
    assert results["test"]["rmse"]["value"] < 12  # the labels' own spread is 14
    assert (tmp_path / "run" / "predictions.png").read_bytes().startswith(b"\x89PNG")
    values = [float(row["predicted"]) for row in rows_of(tmp_path / "run" / "predictions.tsv")]
    assert 85 < min(values) < max(values) < 165


def test_columns_of_other_names(configure: Configure, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv")
    table.write_text(table.read_text().replace("label", "region type").replace("id,", "name,"))
    overrides = ("data.columns.label=region type", "data.columns.id=name", "train.max_steps=1")
    results = finetune(configure(*SHORT, f"data.table={table}", *overrides), tmp_path / "run")
    assert results["labels"] == ["at", "gc"]
    assert rows_of(tmp_path / "run" / "predictions.tsv")[0]["id"].startswith("s")


@pytest.mark.drawn
def test_several_labels_with_weights(configure: Configure, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", 120, "multilabel")
    overrides = ("data.task=multilabel", "task.class_weights=balanced", "task.label_smoothing=0.1")
    results = finetune(configure(*SHORT, f"data.table={table}", *overrides), tmp_path / "run")
    assert results["labels"] == ["at", "gc", "strong"]
    assert len(results["test"]["confusion"]) == 3
    row = rows_of(tmp_path / "run" / "predictions.tsv")[0]
    assert set(row) == {"id", "split", "label", "predicted", "p_at", "p_gc", "p_strong"} | {
        "logit_at",
        "logit_gc",
        "logit_strong",
    }


def test_accumulation_changes_nothing_but_rounding(tiny: Configure, tmp_path: Path) -> None:
    """With weights too: a step's loss is a mean over its sequences, however it is cut."""
    weights = "task.class_weights={at: 3, gc: 1}"
    losses = []
    for size in (8, 4, 1):
        folder = tmp_path / str(size)
        finetune(tiny(f"data.batch_size={size}", weights), folder)
        losses.append(
            [row["train/loss"] for row in read_metrics(folder / "metrics.csv") if "train/loss" in row]
        )
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_packed_batches_learn_and_predict_as_padded_ones(
    tiny: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("numba", reason="the backend that packs on a CPU")
    found = []
    for worth_from in (packing.WORTH_FROM, 0):
        monkeypatch.setattr(packing, "WORTH_FROM", worth_from)
        folder = tmp_path / str(worth_from)
        finetune(tiny(), folder)
        losses = [row["train/loss"] for row in read_metrics(folder / "metrics.csv") if "train/loss" in row]
        rows = [row["p_at"] for row in rows_of(folder / "predictions.tsv")]
        found.append([*losses, *map(float, rows)])
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert "sequences differ in length: read packed" in capsys.readouterr().out


def backbone(path: Path) -> dict[str, torch.Tensor]:
    return load(path).backbone.state_dict()


def test_a_frozen_backbone_stays_as_it_was(tiny: Configure, tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source")
    finetune(tiny(f"model={source}", "task.freeze=true"), tmp_path / "frozen")
    finetune(tiny(f"model={source}"), tmp_path / "free")
    before, frozen, free = (backbone(p) for p in (source, tmp_path / "frozen", tmp_path / "free"))
    for name, tensor in before.items():
        assert torch.equal(frozen[name], tensor), name
        assert not torch.equal(free[name], tensor) or name == "embedding.weight", name


def test_adapters_alone_learn_and_end_merged(tiny: Configure, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    source = pretrained(tmp_path / "source")
    overrides = (f"model={source}", "task.lora_rank=2", "task.lora_alpha=4", "task.keep_best=false")
    finetune(tiny(*overrides), tmp_path / "run")
    before, after = backbone(source), backbone(tmp_path / "run")
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed == {
        f"layers.{layer}.mixer.{projection}.weight"
        for layer in range(2)
        for projection in ("in_proj", "x_proj", "dt_proj", "out_proj")
    }
    difference = (after["layers.0.mixer.in_proj.weight"] - before["layers.0.mixer.in_proj.weight"]).double()
    assert int((torch.linalg.svdvals(difference) > 1e-6).sum()) == 2  # the rank asked for
    with pytest.raises(UserError, match=r"last\.ckpt holds LoRA adapters of an unfinished run"):
        load(tmp_path / "run" / "checkpoints" / "last.ckpt")


def test_best_weights_are_kept_and_patience_ends_run(tiny: Configure, tmp_path: Path) -> None:
    """A rate far too high: the loss of the first validation is never reached again."""
    overrides = (
        "train.learning_rate=2",
        "train.max_steps=40",
        "train.warmup_fraction=0.5",
        "task.patience=2",
    )
    results = finetune(tiny(*overrides), tmp_path / "run")
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "val/loss" in row]
    rows = rows[: results["steps"] // 2]  # the one after them is of the final score
    watched = [row["val/loss"] for row in rows]
    assert results["steps"] < 40
    assert results["kept_step"] == 2 * (int(np.argmin(watched)) + 1) == results["steps"] - 4
    assert results["valid"]["accuracy"]["value"] == rows[-3]["val/accuracy"] > rows[-1]["val/accuracy"]
    with pytest.raises(UserError, match=r"nothing is left to do; the run ended there, as task.patience"):
        finetune(tiny(*overrides, "ckpt_path=auto"), tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()  # as after a kill while it was scored
    again = finetune(tiny(*overrides, "ckpt_path=auto"), tmp_path / "run")
    assert again["test"] == results["test"]
    assert again["steps"] == results["steps"]


@pytest.mark.parametrize(
    ("stop", "extra"),
    [(3, ("task.lora_rank=2", "task.layer_decay=0.5")), (4, ()), (4, ("task.patience=50",))],
)
def test_stopped_and_resumed_equals_uninterrupted(
    tiny: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...], stop: int
) -> None:
    """Stopped between validations (3) and at one (4), whose verdict the checkpoint must hold."""
    whole = finetune(tiny(*extra), tmp_path / "runs" / "whole")

    class Stopping(LastCheckpoint):
        def on_train_batch_start(self, trainer, module, batch, index) -> None:  # type: ignore[no-untyped-def]
            super().on_train_batch_start(trainer, module, batch, index)
            if trainer.global_step >= stop:
                raise Interrupted("stopped by the test")

    first = tmp_path / "runs" / "first"
    with monkeypatch.context() as patch:
        patch.setattr("dnamamba.training.run.LastCheckpoint", Stopping)
        with pytest.raises(Interrupted):
            finetune(tiny(*extra), first)
        # As a run of fewer steps leaves it, which trains on: its results are not those of the new end.
        (first / "metrics.json").write_text('{"steps": 1}')
        with pytest.raises(Interrupted):
            finetune(tiny(*extra, f"ckpt_path={first}"), first)
    with pytest.raises(UserError, match="is not finished; resume it with ckpt_path="):
        page(first)
    resumed = finetune(tiny(*extra, f"ckpt_path={tmp_path / 'runs' / 'first'}"), tmp_path / "runs" / "second")
    for results in (whole, resumed):
        del results["training_seconds"], results["sha256"]  # of a clock, and of files that have it
    assert resumed == whole
    ours, theirs = (load(tmp_path / "runs" / name).state_dict() for name in ("whole", "second"))
    for name, tensor in ours.items():
        assert torch.equal(theirs[name], tensor), name
    curves = [
        [
            {key: value for key, value in row.items() if "second" not in key}
            for row in read_metrics(tmp_path / "runs" / name / "metrics.csv")
        ]
        for name in ("whole", "second")
    ]
    losses = [[(row["step"], row["train/loss"]) for row in curve if "train/loss" in row] for curve in curves]
    watched = [[(row["step"], row["val/loss"]) for row in curve if "val/loss" in row] for curve in curves]
    assert losses[0] == losses[1]
    assert watched[0] == watched[1]


def test_a_checkpoint_of_another_run_lists_what_differs(tiny: Configure, tmp_path: Path) -> None:
    finetune(tiny("train.max_steps=1"), tmp_path / "first")
    overrides = ("decoder.mode=last", "task.layer_decay=0.5", "data.reverse_complement=false", "train.seed=3")
    with pytest.raises(UserError) as error:
        finetune(tiny(f"ckpt_path={tmp_path / 'first'}", *overrides), tmp_path / "second")
    for difference in (
        "decoder.mode: mean, last",
        "task.layer_decay: 1.0, 0.5",
        "data.reverse_complement: True, False",
        "train.seed: 0, 3",
    ):
        assert difference in str(error.value)
    assert not (tmp_path / "second").exists()


def read_strictly(path: Path) -> dict[str, Any]:
    """JSON as its standard has it: Python alone reads NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def scores_of(folder: Path, split: str, head: Head) -> dict[str, float]:
    """The metrics that predictions.tsv gives by itself."""
    rows = [row for row in rows_of(folder / "predictions.tsv") if row["split"] == split]
    if head.reads == "number":
        pairs = [[float(row["predicted"]), float(row["label"])] for row in rows]
        predicted, truth = torch.tensor(pairs, dtype=torch.float64).split(1, dim=1)
        # The rows hold the number itself: a head without a unit takes it as it is.
        return DecoderConfig("regression", head.labels).head.metrics(predicted, truth)
    values = [[float(row[f"logit_{label}"]) for label in head.labels] for row in rows]
    logits = torch.tensor(values, dtype=torch.float64)
    if head.reads == "class":
        truth = torch.tensor([head.labels.index(row["label"]) for row in rows])
    else:
        truth = torch.tensor([[label in row["label"].split(";") for label in head.labels] for row in rows])
    return head.metrics(logits, truth.to(head.dtype))


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_the_predictions_alone_give_the_metrics(configure: Configure, tmp_path: Path, kind: str) -> None:
    table = write_table(tmp_path / "t.csv", 120, kind)
    if kind == "regression":  # about 10,000, with a spread of 0.7
        lines = [line.split(",") for line in table.read_text().splitlines()]
        moved = [[*row[:2], repr(1e4 + (float(row[2]) - 125) / 20), *row[3:]] for row in lines[1:]]
        table.write_text("\n".join(map(",".join, [lines[0], *moved])) + "\n")
    overrides = (f"data.table={table}", f"data.task={kind}", "train.learning_rate=0.05")
    results = finetune(configure(*SHORT, *overrides), tmp_path / "run")
    assert read_strictly(tmp_path / "run" / "metrics.json") == results
    head = load(tmp_path / "run").decoder.head
    for split in ("valid", "test"):
        for name, value in scores_of(tmp_path / "run", split, head).items():
            assert results[split][name]["value"] == pytest.approx(value, abs=1e-9), (split, name)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_split_of_one_sequence_is_scored(configure: Configure, tmp_path: Path, split: str) -> None:
    table = write_table(tmp_path / "t.csv", 60, "regression")
    lines = table.read_text().splitlines()
    theirs = [line for line in lines if line.endswith(split)]
    table.write_text("\n".join(line for line in lines if line not in theirs[1:]) + "\n")
    results = finetune(configure(*SHORT, f"data.table={table}", "data.task=regression"), tmp_path / "run")
    assert read_strictly(tmp_path / "run" / "metrics.json") == results
    found = results[split]
    assert found["examples"] == 1
    assert [found[name]["value"] for name in ("pearson", "spearman", "r2")] == [None] * 3
    (row,) = [row for row in rows_of(tmp_path / "run" / "predictions.tsv") if row["split"] == split]
    off = abs(float(row["predicted"]) - float(row["label"]))
    assert found["rmse"]["value"] == pytest.approx(off, rel=1e-12)
    assert found["notes"][0] == "all 1 target(s) are equal: pearson, spearman and r2 are undefined"


def test_one_label_may_be_there_or_not(configure: Configure, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", 60)
    table.write_text(table.read_text().replace(",at,", ",,"))
    overrides = (f"data.table={table}", "data.task=multilabel", "train.max_steps=40")
    results = finetune(configure(*SHORT, *overrides), tmp_path / "run")
    assert results["labels"] == ["gc"]
    assert results["test"]["auroc"]["value"] > 0.9
    assert np.sum(results["test"]["confusion"]) == 15


def test_users_head_is_trained_and_read(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "t.csv", 60, "regression")
    kind = "tests.heads.test_registry.Counts"
    overrides = (f"data.table={table}", f"data.task={kind}", "train.learning_rate=0.1", "task.monitor=rmse")
    results = finetune(configure(*SHORT, *overrides), tmp_path / "run")
    assert results["task"] == kind
    decoder = load(tmp_path / "run").decoder
    assert (type(decoder.head).__name__, decoder.shift, decoder.scale) == ("Counts", 0.0, 1.0)
    rows = rows_of(tmp_path / "run" / "predictions.tsv")
    assert min(float(row["predicted"]) for row in rows) > 0
    assert "undefined" not in capsys.readouterr().out
