"""A closed-form head: what the pass reads, what the run leaves, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dnamamba import SequenceModel, UserError, get_alphabet, load
from dnamamba.commands.finetune import finetune
from dnamamba.commands.plan import print_finetuning_plan
from dnamamba.commands.predict_mode import predict
from dnamamba.training.fits import closed_form
from dnamamba.training.fits.discriminant import Discriminant
from tests.finetuning.conftest import SHORT, Configure, pretrained, rows_of, write_table
from tests.finetuning.test_mistakes import GOOD, table_with

CLOSED = ("task.fit=closed", "decoder.mode=next")


@pytest.mark.parametrize("strand", ["forward", "both"])
def test_a_run_and_its_predictions(
    tiny: Configure, configure: Configure, tmp_path: Path, strand: str
) -> None:
    source, folder = pretrained(tmp_path / "source"), tmp_path / "run"
    results = finetune(tiny(*CLOSED, f"model={source}", f"decoder.strand={strand}"), folder)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml",
        "confusion_matrix.png",
        "metrics.csv",
        "metrics.json",
        "model/config.json",
        "model/model.safetensors",
        "predictions.tsv",
    }
    assert results["test"]["accuracy"]["value"] > 0.9
    assert (results["steps"], results["kept_step"]) == (6, 6)
    before, after = load(source).backbone.state_dict(), load(folder).backbone.state_dict()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name

    lines = (tmp_path / "t.csv").read_text().splitlines()[1:]
    fields = [line.split(",") for line in lines]
    (tmp_path / "new.fa").write_text("".join(f">{name}\n{bases}\n" for name, bases, *_ in fields))
    cfg = configure("mode=predict", f"model={folder}", f"data.fasta={tmp_path / 'new.fa'}")
    found = {row["id"]: float(row["p_at"]) for row in rows_of(predict(cfg, tmp_path / "out", piece=16))}
    expected = {row["id"]: float(row["p_at"]) for row in rows_of(folder / "predictions.tsv")}
    assert len(expected) == 30
    assert np.std(list(expected.values())) > 0.2
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)


class Spy(Discriminant):
    """Keeps what it was given."""

    def __init__(self, *arguments: int) -> None:
        super().__init__(*arguments)
        self.given: list[tuple[Tensor, Tensor]] = []
        spies.append(self)

    def add(self, features: Tensor, labels: Tensor) -> None:
        self.given.append((features, labels))
        super().add(features, labels)


spies: list[Spy] = []


@pytest.mark.parametrize("weights", ["null", "balanced"])
def test_head_is_discriminant_of_training_batches(
    tiny: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    """In micro-batches, both strands averaged, and saved as float32."""
    monkeypatch.setattr(closed_form, "Discriminant", Spy)
    overrides = ("decoder.strand=both", "task.shrinkage=0.1", f"task.class_weights={weights}")
    tokens: list[Tensor] = []
    features_of = SequenceModel.features

    def features(model: SequenceModel, rows: Tensor, *arguments: Tensor, padding: str) -> Tensor:
        assert not model.training
        tokens.append(rows)
        return features_of(model, rows, *arguments, padding=padding)  # type: ignore[arg-type]

    monkeypatch.setattr(SequenceModel, "features", features)
    finetune(tiny(*CLOSED, *overrides, "data.padding=left", "data.batch_size=3"), tmp_path / "run")
    given = spies.pop().given
    assert [len(labels) for _, labels in given] == [3, 3, 2] * 6  # 6 steps of 8
    assert len(tokens) == len(given)

    model = load(tmp_path / "run")
    assert isinstance(model, SequenceModel)
    assert model.head.weight.dtype == torch.float32
    expected = Discriminant(2, model.head.in_features)
    expected.add(*(torch.cat(column) for column in zip(*given, strict=True)))
    weight, bias = expected.solve(0.1, priors=weights == "null")
    torch.testing.assert_close(model.head.weight.double(), weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.head.bias.double(), bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", ["null", "balanced"])
def test_refit_adds_validation_sequences_for_test_and_model(
    tiny: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    weights: str,
) -> None:
    """Validation is as in a run without it."""
    monkeypatch.setattr(closed_form, "Discriminant", Spy)
    overrides = ("decoder.strand=both", "task.shrinkage=1", f"task.class_weights={weights}")
    # The last position alone leaves both heads in doubt.
    cfg = tiny(*CLOSED, *overrides, "decoder.mode=last", "train.max_steps=2", "data.batch_size=3")
    plain = finetune(cfg, tmp_path / "plain")
    assert "validation:" not in capsys.readouterr().out
    cfg.task.refit = True
    results = finetune(cfg, tmp_path / "run")
    printed = " ".join(capsys.readouterr().out.split())
    assert "again, from 15 validation windows too: it is saved and tested, the one before is" in printed
    assert "test: of the saved head; validation: of the one computed without those sequences" in printed
    assert plain["head_from"] == {"valid": ["train"], "test": ["train"]}
    assert results["head_from"] == {"valid": ["train"], "test": ["train", "valid"]}

    given, trained = spies.pop().given, spies.pop().given
    assert [len(labels) for _, labels in given] == [3, 3, 2] * 2 + [3] * 5  # 2 steps of 8, then 15 examples
    assert all(torch.equal(a[0], b[0]) for a, b in zip(trained, given[:6], strict=True))
    model = load(tmp_path / "run")
    assert isinstance(model, SequenceModel)
    expected = Discriminant(2, model.head.in_features)
    expected.add(*(torch.cat(column) for column in zip(*given, strict=True)))
    weight, bias = expected.solve(1.0, priors=weights == "null")
    torch.testing.assert_close(model.head.weight.double(), weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.head.bias.double(), bias, rtol=1e-5, atol=1e-5)

    lines = [line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines()[1:]]
    bases = {name: torch.from_numpy(get_alphabet("dna").encode(text))[None] for name, text, *_ in lines}
    valid = [name for name, _, _, split in sorted(lines, key=lambda line: len(line[1])) if split == "valid"]
    with torch.no_grad():
        read = torch.cat([model.features(bases[name]) for name in valid])
    torch.testing.assert_close(torch.cat([of for of, _ in given[6:]]), read, rtol=1e-5, atol=1e-5)

    assert results["valid"] == plain["valid"]
    before, after = (rows_of(tmp_path / name / "predictions.tsv") for name in ("plain", "run"))
    assert before[:15] == after[:15]
    assert {row["split"] for row in after[:15]} == {"valid"}
    with torch.no_grad():
        answers = [model(bases[row["id"]]).softmax(-1)[0, 1].item() for row in after[15:]]
    assert [float(row["p_gc"]) for row in after[15:]] == pytest.approx(answers, abs=1e-5)
    assert [float(row["p_gc"]) for row in before[15:]] != pytest.approx(answers, abs=1e-2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.fit=exact"], "task.fit: must be one of gradient, closed (got 'exact')"),
        (["task.shrinkage=0"], "task.shrinkage: must lie above 0 and up to 1 (got 0.0)"),
        (["task.shrinkage=1.5"], "task.shrinkage: must lie above 0 and up to 1 (got 1.5)"),
        ([*CLOSED, "task.lora_rank=2"], "task.lora_rank has no meaning with task.fit=closed"),
        ([*CLOSED, "task.label_smoothing=0.1"], "task.label_smoothing has no meaning with task.fit=closed"),
        (
            [*CLOSED, "task.class_weights={at: 1, gc: 2}"],
            "task.class_weights: must be null or balanced with task.fit=closed (got {'at': 1, 'gc': 2})",
        ),
        (["task.refit=true"], "task.refit=true needs task.fit=closed"),
        ([*CLOSED, "ckpt_path=last"], "ckpt_path: task.fit=closed leaves no checkpoint to resume from"),
        (
            [*CLOSED, "trainer.devices=2", "trainer.strategy=ddp"],
            "task.fit=closed: runs in one process (got 2)",
        ),
    ],
)
def test_closed_form_refuses_settings_it_lacks(
    tiny: Configure, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError) as error:
        finetune(tiny(*overrides), tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_only_a_classification_has_a_closed_form(configure: Configure, tmp_path: Path, kind: str) -> None:
    table = write_table(tmp_path / "t.csv", 120, kind)
    with pytest.raises(UserError, match=f"task.fit=closed needs a classification, not a {kind}"):
        finetune(configure(*SHORT, *CLOSED, f"data.table={table}", f"data.task={kind}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_that_the_pass_has_not_met(tiny: Configure, tmp_path: Path) -> None:
    overrides = (table_with(tmp_path, *GOOD), "train.max_steps=1", "train.global_batch_size=1")
    with pytest.raises(UserError, match=r"no training window of [ab] in 1 step\(s\); raise train.max_steps"):
        finetune(tiny(*CLOSED, *overrides, "data.batch_size=1"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_plan_says_what_it_estimates(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    print_finetuning_plan(configure("data.max_length=512", "decoder.mode=next"))
    assert "closed" not in capsys.readouterr().out
    print_finetuning_plan(configure("data.max_length=512", *CLOSED))
    assert "memory and time of gradient training: task.fit=closed reads" in capsys.readouterr().out
