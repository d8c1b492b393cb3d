"""Heads that keep position, from the command line: what they learn, and what is refused."""

from pathlib import Path

import pytest

from dnamamba import SequenceModel, UserError, load
from dnamamba.commands.finetune import finetune
from dnamamba.commands.predict_mode import predict
from tests.finetuning.conftest import SHORT, Configure, rows_of, write_table
from tests.finetuning.test_baselines import aligned

ALIGNED = ("data.reverse_complement=false", "train.max_steps=60", "train.validate_every=20")


@pytest.mark.parametrize(("reader", "learns"), [("mode=mean", False), ("mode=positions", True)])
def test_only_positions_learn_what_a_place_means(
    configure: Configure, tmp_path: Path, reader: str, learns: bool
) -> None:
    """The classes differ in the base in the middle alone."""
    table = aligned(tmp_path / "t.csv", 320)
    overrides = (f"data.table={table}", f"decoder.{reader}", "task.freeze=true", *ALIGNED)
    results = finetune(configure(*SHORT, *overrides), tmp_path / "run")
    assert (results["test"]["accuracy"]["value"] > 0.9) is learns


def test_a_model_of_positions_labels_new_sequences(configure: Configure, tmp_path: Path) -> None:
    table = aligned(tmp_path / "t.csv")
    overrides = (f"data.table={table}", "decoder.mode=positions", "decoder.context=both", "decoder.conv=1")
    finetune(configure(*SHORT, *overrides), tmp_path / "run")
    model = load(tmp_path / "run")
    assert isinstance(model, SequenceModel)
    assert (model.decoder.length, model.decoder.context, model.decoder.conv) == (12, "both", 1)
    lines = [line.split(",") for line in table.read_text().splitlines()[1:]]
    fasta = tmp_path / "new.fa"
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases, *_ in lines))
    asked = ("mode=predict", f"model={tmp_path / 'run'}", f"data.fasta={fasta}")
    predict(configure(*asked), tmp_path / "out")
    expected = {row["id"]: float(row["p_left"]) for row in rows_of(tmp_path / "run" / "predictions.tsv")}
    found = {row["id"]: float(row["p_left"]) for row in rows_of(tmp_path / "out" / "predictions.tsv")}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    fasta.write_text(">short\nACGT\n")
    with pytest.raises(UserError, match=r"sequences of 12 bases \(got 4\)"):
        predict(configure(*asked), tmp_path / "again")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("decoder.mode=positions",), "decoder.mode=positions: the sequences differ in length"),
        (("decoder.mode=attention", "task.fit=closed"), "task.fit=closed computes the head alone"),
        (("decoder.conv=2", "task.fit=closed"), "task.fit=closed computes the head alone"),
    ],
)
def test_a_reader_that_the_run_can_not_have(
    configure: Configure, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    table = write_table(tmp_path / "t.csv")
    with pytest.raises(UserError, match=message):
        finetune(configure(*SHORT, f"data.table={table}", *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sequences_that_are_cut_to_one_length_have_positions(configure: Configure, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv")
    overrides = ("decoder.mode=positions", "data.max_length=20", "data.crop=start")
    finetune(configure(*SHORT, f"data.table={table}", *overrides), tmp_path / "run")
    assert load(tmp_path / "run").decoder.length == 20


def test_another_reader_is_another_run(tiny: Configure, tmp_path: Path) -> None:
    finetune(tiny("decoder.conv=1", "train.max_steps=2"), tmp_path / "run")
    last = f"ckpt_path={tmp_path / 'run'}"
    with pytest.raises(UserError, match=r"decoder\.conv: 1, None"):
        finetune(tiny(last, "train.max_steps=4"), tmp_path / "other")
    resumed = finetune(tiny(last, "decoder.conv=1", "train.max_steps=4"), tmp_path / "more")
    assert resumed["steps"] == 4
