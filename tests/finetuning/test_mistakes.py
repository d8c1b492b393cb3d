"""What a fine-tuning refuses: one line, and nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dnamamba import UserError
from dnamamba.commands.finetune import finetune
from dnamamba.commands.predict_mode import predict
from tests.finetuning.conftest import Configure, pretrained


def table_with(folder: Path, *rows: str) -> str:
    path = folder / "bad.csv"
    path.write_text("sequence,label,split\n" + "".join(f"{row}\n" for row in rows))
    return f"data.table={path}"


GOOD = ("ACGTA,a,train", "ACGTC,b,train", "ACGTG,a,valid", "ACGTT,b,valid", "ACGAA,a,test", "ACGAC,b,test")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: [table_with(d, *GOOD, "ACGT,c,train"), "data.label_names=[a,b]"], "unknown label 'c'"),
        (lambda d: [table_with(d, *GOOD, "ACGT,,train")], "1 sequence(s) with no label, the first is"),
        (lambda d: [table_with(d, *(row.replace("b", "a") for row in GOOD))], "only one class, a"),
        (lambda d: [table_with(d, *GOOD[:-1])], "class 'b' is missing from the test split"),
        (lambda d: [table_with(d, *GOOD, ",a,train")], "1 empty sequence(s), the first is"),
        (lambda d: [table_with(d, *GOOD, "MEEP,a,train")], "3 letter(s) in 1 sequence(s) are not nucleotide"),
        (
            lambda d: [table_with(d, *GOOD), "train.epochs=1e300"],
            "train.epochs: at most 281,474,976,710,656 steps",
        ),
        (lambda d: [table_with(d, *GOOD), "task.lora_rank=1000000"], "task.lora_rank"),
        (
            lambda d: [table_with(d, *GOOD), "data.task=regression"],
            "6 regression target(s) are not finite numb",
        ),
        (
            lambda d: [table_with(d, *GOOD, "ACGTA,a,test"), "data.duplicates=error"],
            "data.duplicates=error: 1 of the test sequences are in train too",
        ),
        (
            lambda d: [f"model={pretrained(d / 'm', 'bytes')}", "data.alphabet=dna"],
            "is of alphabet 'bytes', but",
        ),
        (
            lambda d: [table_with(d, *GOOD), "data.valid_fraction=0.2"],
            "data.valid_fraction: has no effect on a split by the files' own split (got 0.2); leave it out",
        ),
        (
            lambda d: [table_with(d, *GOOD), "data.columns.group=label"],
            "data.columns.group: has no effect without data.valid or data.test, which name groups",
        ),
        (
            lambda d: [table_with(d, *GOOD), "data.task=regression", "data.label_names=[a,b]"],
            "data.label_names: data.task=regression has numbers, not labels (got a, b); leave it out",
        ),
        (lambda d: [table_with(d, *GOOD), "data.stratify=true"], "data.stratify: has no effect on a split"),
        (lambda d: ["model=nowhere"], "no model at nowhere"),
        (lambda d: ["model=[a]"], "no model at [a]: neither a checkpoint nor"),
        (lambda d: ["data.fasta=x.fa"], "data.fasta, data.table do not go together: give data.folder; or"),
        (lambda d: ["data._target_=os.getcwd"], "data._target_=os.getcwd is not a "),
        (
            lambda d: ["data._target_=dnamamba.nothing.Data"],
            "data._target_=dnamamba.nothing.Data is not a data mod",
        ),
        (lambda d: ["data.padding=both"], "data.padding: must be one of right, left (got 'both')"),
        (lambda d: ["data.valid_fraction=0.7"], "data.valid_fraction: must lie between 0 and 0.5 (got 0.7)"),
        (
            lambda d: ["decoder.mode=first"],
            "decoder.mode: must be one of auto, last, mean, next, attention, positions (got 'first')",
        ),
        (
            lambda d: ["decoder.context=left"],
            "decoder.context: must be one of auto, forward, both (got 'left')",
        ),
        (
            lambda d: ["task.monitor=luck"],
            "task.monitor: expected one of loss, accuracy, f1, mcc, auroc, aup",
        ),
        (
            lambda d: ["task.class_weights=heavy"],
            "task.class_weights: must be null, balanced or a weight for each",
        ),
        (lambda d: ["train.global_batch_size=0"], "train.global_batch_size: must be at least 1 (got 0)"),
        (
            lambda d: ["train.max_steps=null"],
            "train.max_steps: fine-tuning has no other end (got null)",
        ),
        (lambda d: ["mode=test"], "mode: must be train, predict or plan (got 'test')"),
        (lambda d: ["scratch.d_model=0"], "model.d_model: must be a whole number of at least 1 (got 0)"),
        (lambda d: ["+nosuch=1"], "unknown setting nosuch; the settings are data, decoder, task"),
        (lambda d: ["ckpt_path=nowhere.ckpt"], "no checkpoint nowhere.ckpt"),
        (lambda d: ["mode=predict"], "scratch"),
    ],
)
def test_a_mistake_is_one_line_and_no_folder(
    tiny: Configure, tmp_path: Path, make: Callable[[Path], list[str]], message: str
) -> None:
    folder = tmp_path / "run"
    cfg = tiny(*make(tmp_path))
    with pytest.raises(UserError) as error:
        (predict if cfg.mode == "predict" else finetune)(cfg, folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not folder.exists()
