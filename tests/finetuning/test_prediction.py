"""Labels for new sequences from a saved run."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from dnamamba import UserError, get_alphabet, load
from dnamamba.commands.finetune import finetune
from dnamamba.commands.predict_mode import predict
from dnamamba.files import locked
from dnamamba.models.pooling import MODES
from tests.finetuning.conftest import Configure, pretrained, rows_of

DNA = get_alphabet("dna")


@pytest.mark.parametrize(
    ("mode", "strand"), [*((mode, "forward") for mode in MODES), ("mean", "both"), ("next", "both")]
)
def test_new_sequences_however_long(
    tiny: Configure, configure: Configure, tmp_path: Path, mode: str, strand: str
) -> None:
    """Pieces of 16 bases with the state carried, against the model on each whole sequence."""
    finetune(tiny(f"decoder.mode={mode}", f"decoder.strand={strand}"), tmp_path / "run")
    rng = np.random.default_rng(1)
    records = {
        f"r{n}": "".join(rng.choice(list("ACGTN"), size)) for n, size in enumerate((5, 300, 16, 17, 1, 9, 64))
    }
    path = tmp_path / "new.fa"
    path.write_text("".join(f">{name} x\n{bases}\n" for name, bases in records.items()))
    cfg = configure("mode=predict", f"model={tmp_path / 'run'}", f"data.fasta={path}", "data.batch_size=2")
    rows = rows_of(predict(cfg, tmp_path / "out", piece=16))
    assert [row["id"] for row in rows] == list(records)
    model = load(tmp_path / "run")
    for row in rows:
        with torch.no_grad():
            p = model(torch.from_numpy(DNA.encode(records[row["id"]]))[None]).softmax(-1)[0]
        assert (float(row["p_at"]), float(row["p_gc"])) == pytest.approx(p.tolist(), abs=1e-5)
        assert row["predicted"] == ("at", "gc")[int(p.argmax())]


def test_folder_of_a_run_keeps_its_predictions(tiny: Configure, configure: Configure, tmp_path: Path) -> None:
    """Neither a prediction nor a second run takes the place of one, nor writes where another process does."""
    run, other, path = tmp_path / "run", tmp_path / "other", tmp_path / "new.fa"
    closed = tiny("task.fit=closed", "decoder.mode=mean")
    finetune(closed, run)
    before = {each: each.read_bytes() for each in run.rglob("*") if each.is_file()}
    path.write_text(">a\nACGTACGT\n")
    cfg = configure("mode=predict", f"model={run}", f"data.fasta={path}")
    with pytest.raises(UserError, match=r"run holds a run, whose predictions this would replace: choose"):
        predict(cfg, run)
    with pytest.raises(UserError, match="run holds a finished run: choose another"):
        finetune(closed, run)
    assert {each: each.read_bytes() for each in run.rglob("*") if each.is_file()} == before
    for _ in range(2):  # a prediction may be made again
        assert [row["id"] for row in rows_of(predict(cfg, other))] == ["a"]
    writing, reading = os.pipe()
    child = os.fork()
    if child == 0:  # a process does not lock itself out
        with locked(other):
            os.write(reading, b".")
            signal.pause()
    os.read(writing, 1)
    try:
        with pytest.raises(UserError, match="other: another run is writing here"):
            predict(cfg, other)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("text", "model", "others", "message"),
    [
        (
            ">a\nACGT\n>b\nACEFG\n",
            "run",
            [],
            "2 letter(s) are not nucleotide codes, the first is 'E' at position 3 of",
        ),
        (">a\nACGT\n", "source", [], "is a pretrained model without a head: fine-tune it first"),
        (None, "run", [], "mode=predict needs data.fasta=FILE, the sequences to label"),
        (None, "run", ["data=species"], "to label, and data=labelled, the data group that has it"),
        (">a\nACGT\n", "run", ["data.batch_size=abc"], "data.batch_size: expected a whole number (got"),
        (">a\nACGT\n", "run", ["data.batch_size=0"], "data.batch_size: must be at least 1 (got 0)"),
        (">a\nACGT\n", None, [], "mode=predict needs model=PATH"),
    ],
)
def test_what_can_not_be_predicted(
    tiny: Configure,
    configure: Configure,
    tmp_path: Path,
    text: str | None,
    model: str | None,
    others: list[str],
    message: str,
) -> None:
    pretrained(tmp_path / "source")
    finetune(tiny("train.max_steps=1"), tmp_path / "run")
    overrides = ["mode=predict", *others]
    if text is not None:
        (tmp_path / "new.fa").write_text(text)
        overrides.append(f"data.fasta={tmp_path / 'new.fa'}")
    if model is not None:
        overrides.append(f"model={tmp_path / model}")
    with pytest.raises(UserError) as error:
        predict(configure(*overrides), tmp_path / "out")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
