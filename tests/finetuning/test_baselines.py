"""Simple models as baselines of a fine-tuning: what they read, what is written of them, and who wins."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from dnamamba import LabelledConfig
from dnamamba.commands.finetune import finetune
from dnamamba.data.stateless import Int64s
from dnamamba.heads.bootstrap import draw
from dnamamba.models import DecoderConfig
from dnamamba.objectives.sequence import Scored
from dnamamba.reports.comparison import compare
from dnamamba.reports.finetuning import score_all
from dnamamba.training import baselines as module
from dnamamba.training.baselines import Baseline, Baselines
from tests.finetuning.conftest import SHORT, Configure, write_table


def aligned(path: Path, number: int = 160, lengths: tuple[int, int] = (12, 13)) -> Path:
    """Classes that differ in the middle base alone, and in no k-mer's share."""
    rng = np.random.default_rng(0)
    rows = []
    for place in range(number):
        bases = rng.choice(list("ACGT"), rng.integers(*lengths))
        bases[6] = "AC"[place % 2]
        split = ("train", "train", "valid", "test")[place // 2 % 4]
        rows.append(f"s{place},{''.join(bases)},{('left', 'right')[place % 2]},{split}\n")
    path.write_text("id,sequence,label,split\n" + "".join(rows))
    return path


def fitted(table: Path, task: str = "classification", **settings: Any) -> tuple[list[Baseline], list[str]]:
    config = LabelledConfig(table=str(table), alphabet="dna", task=task, **settings)
    data = config.build(0, global_batch_size=8, max_steps=4, world_size=1)
    found = Baselines(data.decoder("mean").head, None, data).fit(Console(quiet=True))
    return found.all, list(found.notes)


def accuracy(baseline: Baseline, decoder: DecoderConfig, split: str = "test") -> float:
    found = baseline.scored[split]
    return decoder.head.metrics(found.logits, found.labels)["accuracy"]


def test_positions_win_where_the_middle_base_decides(tmp_path: Path) -> None:
    constant, words, positions = fitted(aligned(tmp_path / "t.csv"))[0]
    assert [one.name for one in (constant, positions)] == ["majority class", "one-hot logistic"]
    assert words.name == f"{words.settings['k']}-mer logistic"
    decoder = DecoderConfig("classification", ("left", "right"))
    assert accuracy(positions, decoder) == 1
    assert accuracy(words, decoder) < 0.8
    assert accuracy(constant, decoder) == 0.5
    assert {one.settings["training_sequences"] for one in (constant, words, positions)} == {80}


def test_lengths_that_differ_leave_words_alone(tmp_path: Path) -> None:
    names = [one.name for one in fitted(aligned(tmp_path / "t.csv", lengths=(12, 15)))[0]]
    assert names[0] == "majority class"
    assert len(names) == 2


def test_a_number_has_its_mean_and_ridge(tmp_path: Path) -> None:
    """Share of A and T against G and C: one base's words hold all there is to know."""
    mean, ridge = fitted(write_table(tmp_path / "t.csv", 240, "regression"), "regression")[0]
    assert (mean.name, ridge.name[1:]) == ("mean", "-mer ridge")
    table = [line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines()]
    train = [float(label) for _, _, label, split in table[1:] if split == "train"]
    head = DecoderConfig("regression", ("label",), "mean", float(np.mean(train)), float(np.std(train))).head
    answers = {one.name: head.predict(one.scored["test"].logits) for one in (mean, ridge)}
    assert answers["mean"].unique().tolist() == pytest.approx([np.mean(train)], abs=1e-3)
    assert head.metrics(ridge.scored["test"].logits, ridge.scored["test"].labels)["r2"] > 0.6


@pytest.mark.parametrize("padding", ["right", "left"])
def test_padding_is_not_part_of_a_sequence(tmp_path: Path, padding: str) -> None:
    table = write_table(tmp_path / "t.csv")
    scored = [fitted(table, padding=side, batch_size=7)[0][1].scored["test"] for side in ("right", padding)]
    torch.testing.assert_close(scored[0].logits, scored[1].logits)
    alone = fitted(table, padding=padding, batch_size=1)[0][1].scored["test"]
    torch.testing.assert_close(scored[1].logits, alone.logits, rtol=1e-3, atol=1e-3)
    assert alone.examples.tolist() == scored[1].examples.tolist()


def test_a_large_training_set_is_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VALUES", 48 * 2 * 20)
    constant, _, positions = fitted(aligned(tmp_path / "t.csv"))[0]
    assert positions.settings["training_sequences"] == 20
    assert constant.settings["training_sequences"] == 80


def test_too_large_held_out_data_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BASES", 100)
    assert fitted(aligned(tmp_path / "t.csv")) == (
        [],
        ["no baselines: valid has more than 100 bases to hold in memory"],
    )


def test_a_run_writes_and_prints_its_baselines(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (f"data.table={aligned(tmp_path / 't.csv')}", "task.baselines=true", "train.max_steps=1")
    results = finetune(configure(*SHORT, *overrides), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == results
    found = results["baselines"]["one-hot logistic"]
    assert found["test"]["accuracy"]["value"] == 1
    assert {"low", "high"} < set(found["test"]["auroc"])
    assert set(found["valid"]) == set(results["valid"])
    assert results["best_baseline"] == "one-hot logistic"
    assert results["lead"]["high"] < 0
    printed = capsys.readouterr().out
    assert "a baseline is better than the model: one-hot logistic" in printed
    rows = [line.split() for line in printed.splitlines() if line.strip().startswith("one-hot logistic")]
    assert len(rows) == len(DecoderConfig("classification", ("a", "b")).head.scores)
    assert rows[0] == ["one-hot", "logistic", "1.0000", "1.0000", "to", "1.0000", "1.0000"]


def test_without_baselines_nothing_is_said_of_them(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (f"data.table={aligned(tmp_path / 't.csv')}", "train.max_steps=1")
    results = finetune(configure(*SHORT, *overrides), tmp_path / "run")
    assert not {"baselines", "verdict", "best_baseline"} & set(results)
    assert "logistic" not in capsys.readouterr().out


def scores(right: int, of: int = 200) -> Scored:
    """The first `right` answers are right; half of the sequences are of each class."""
    labels = torch.arange(of) % 2
    answers = torch.where(torch.arange(of) < right, labels, 1 - labels)
    return Scored(torch.arange(of), torch.eye(2, dtype=torch.float64)[answers], labels)


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (
            180,
            "accuracy: the model is better than every baseline, by 0.1500 over words (0.9000 against 0.7500",
        ),
        (100, "accuracy: a baseline is better than the model: words, by 0.2500 (0.5000 against 0.7500"),
        (151, "accuracy: the model and words do not differ significantly (0.7550 against 0.7500"),
    ],
)
def test_the_verdict_names_the_winner(right: int, words: str) -> None:
    decoder = DecoderConfig("classification", ("a", "b"))
    found = {}
    for name, number in (("model", right), ("words", 150), ("constant", 90)):
        held_out = {"valid": scores(number), "test": scores(number)}
        found[name] = score_all(decoder, held_out, 200)
    own, draws = found.pop("model")
    baselines = {name: pair[0] for name, pair in found.items()}
    result = compare(decoder.head, own, draws, baselines, {name: pair[1] for name, pair in found.items()})
    assert result["verdict"].startswith(words)
    assert result["lead"]["value"] == pytest.approx((right - 150) / 200)
    # Resampled together: the model is right wherever the other is, so its lead never changes sign.
    assert result["lead"]["low"] * result["lead"]["high"] >= 0


def test_draws_of_two_models_are_paired() -> None:
    head = DecoderConfig("classification", ("a", "b")).head
    one, other = (draw(head, *scores(number)[1:], 50).values["accuracy"] for number in (120, 121))
    assert ((other - one >= 0) & (other - one < 0.05)).all()


def indices(batches: Any) -> Int64s:
    return np.concatenate([batch["index"].numpy() for batch in batches])


def test_training_examples_come_once_and_evenly(tmp_path: Path) -> None:
    config = LabelledConfig(table=str(aligned(tmp_path / "t.csv")), alphabet="dna")
    data = config.build(0, global_batch_size=8, max_steps=4, world_size=1)
    rows = data.rows["train"]  # type: ignore[attr-defined]
    assert sorted(indices(data.training_batches(1000, 10**6))) == rows.tolist()
    some = sorted(indices(data.training_batches(1000, 120)))
    assert some == rows[np.linspace(0, 79, 10).astype(int)].tolist()
