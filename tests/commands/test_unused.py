"""Settings that have no effect together are refused by name."""

import pytest

from dnamamba.commands.overrides import as_typed
from dnamamba.commands.unused import check_unused
from dnamamba.config import composed
from dnamamba.errors import UserError

FILES = ("fasta=a.fa", "model=m", "out=o")


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        ("finetune", ("scratch.d_model=8",), "scratch.d_model: has no effect without model=scratch (got 8)"),
        ("finetune", ("task.shrinkage=0.1",), "task.shrinkage: has no effect without task.fit=closed"),
        (
            "finetune",
            ("task.fit=closed", "train.learning_rate=1"),
            "train.learning_rate: has no effect without",
        ),
        *(
            ("finetune", (f"{key}=2", "task.fit=closed"), f"{key}: has no effect without task.fit=gradient")
            for key in (
                "train.log_every",
                "task.patience",
                "data.valid_examples",
                "train.compile",
                "task.freeze",
            )
        ),
        (
            "finetune",
            ("task.freeze=true", "task.layer_decay=0.5"),
            "task.layer_decay: has no effect without task.freeze=false (got 0.5)",
        ),
        ("finetune", ("task.lora_alpha=8",), "task.lora_alpha: has no effect without task.lora_rank"),
        ("finetune", ("data.crop=start",), "data.crop: has no effect without data.max_length"),
        (
            "finetune",
            ("data=species", "data.record_id=a"),
            "data.record_id: has no effect without data.split=rec",
        ),
        ("plan", ("ckpt_path=auto",), "ckpt_path: has no effect without `dnamamba pretrain` (got auto)"),
        ("plan", ("logger=mlflow",), "logger: has no effect without `dnamamba pretrain`"),
        (
            "finetune",
            ("mode=plan", "ckpt_path=auto"),
            "ckpt_path: has no effect without mode=train (got auto)",
        ),
        ("pretrain", ("data.edge=pad",), "data.edge: has no effect without data.intervals"),
        (
            "pretrain",
            ("data.length_warmup.steps=5",),
            "data.length_warmup.steps: has no effect without data.len",
        ),
        (
            "finetune",
            ("data=tracks", "data.count_weight=2"),
            "data.count_weight: has no effect without data.loss=multinomial (got 2)",
        ),
        ("tracks", (*FILES, "context=9"), "context: has no effect without bed (got 9)"),
        ("predict", (*FILES, "context=9"), "context: has no effect without bed (got 9)"),
        ("predict", (*FILES, "symbolic=9"), "symbolic: has no effect without vcf (got 9)"),
        ("score", (*FILES, "region=c:1-9", "symbolic=9"), "symbolic: has no effect without vcf (got 9)"),
        ("score", (*FILES, "region=c:1-9", "unknown=skip"), "unknown: has no effect without vcf (got skip)"),
        (
            "attribute",
            (*FILES, "region=c:1-9", "tolerance=0.5"),
            "tolerance: has no effect without method=integrated",
        ),
        (
            "generate",
            ("out=o", "temperature=0", "top_k=3"),
            "top_k: has no effect without a temperature above 0",
        ),
    ],
)
def test_a_setting_without_effect_is_refused_by_name(
    command: str, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError) as error:
        check_unused(composed(command, overrides), overrides)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("command", "overrides"),
    [
        ("finetune", ("scratch.d_model=8", "model=scratch")),
        ("finetune", ("task.shrinkage=0.1", "task.fit=closed")),
        ("finetune", ("task.patience=2", "task.layer_decay=0.5", "train.log_every=2")),
        ("finetune", ("task.freeze=false", "task.layer_decay=0.5")),
        ("finetune", ("data.crop=start", "data.max_length=64")),
        ("pretrain", ("data.intervals=a.bed", "data.fasta=a.fa", "data.edge=pad")),
        ("pretrain", ("data.length_warmup.first_length=64", "data.length_warmup.steps=5")),
        ("finetune", ("data=tracks", "data.loss=multinomial", "data.count_weight=2")),
        ("tracks", (*FILES, "bed=a.bed", "context=9")),
        ("embed", (*FILES, "context=both")),
        ("embed", (*FILES, "pooling=next", "context=both")),
        ("score", (*FILES, "vcf=a.vcf", "window=64", "symbolic=9", "unknown=skip")),
        ("attribute", (*FILES, "region=c:1-9", "method=integrated", "tolerance=0.5")),
    ],
)
def test_a_setting_with_effect_is_taken(command: str, overrides: tuple[str, ...]) -> None:
    check_unused(composed(command, overrides), overrides)


def test_unused_setting_within_map_is_refused() -> None:
    """`task={lora_alpha: 8}` sets what `task.lora_alpha=8` does."""
    overrides = as_typed(["task={lora_alpha: 8}"], model_is_a_path=True)
    with pytest.raises(UserError, match=r"task\.lora_alpha: has no effect without task\.lora_rank \(got 8\)"):
        check_unused(composed("finetune", overrides), overrides)
