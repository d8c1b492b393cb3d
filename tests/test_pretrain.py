"""Whole runs, in this process: what they leave behind, and what they refuse before the first step."""

import gzip
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf

from dnamamba import Genome, UserError, get_alphabet, load
from dnamamba.commands.pretrain import pretrain
from dnamamba.errors import Interrupted
from dnamamba.objectives.next_base import NextBase
from dnamamba.reports.figures import read_metrics
from dnamamba.training.module import Task

Configure = Callable[..., DictConfig]


@pytest.mark.drawn
def test_a_run_leaves_everything_behind(tiny: Configure, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    results = pretrain(tiny(), folder)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "checkpoints/last.ckpt",
        "checkpoints/last.ckpt.rows.json",
        "config.yaml",
        "learning_curve.png",
        "metrics.csv",
        "model/config.json",
        "model/model.safetensors",
        "results.json",
    }
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["steps"] == 6
    assert results["bases"] == 6 * 8 * 32
    assert results["verdict"].startswith("test: the model needs ")
    assert OmegaConf.load(folder / "config.yaml").data.max_length == 32
    metrics = read_metrics(folder / "metrics.csv")
    assert [row["step"] for row in metrics if "train/bits_per_base" in row] == [0, 1, 2, 3, 4, 5]
    # Watched windows, after the third and the sixth step; then all windows, with the number of steps.
    validated = [(row["step"], row["val/bits_per_base"]) for row in metrics if "val/bits_per_base" in row]
    assert [step for step, _ in validated] == [2, 5, 6]
    assert validated[-1][1] == pytest.approx(results["bits_per_base"]["valid"], rel=1e-6)
    assert validated[-2][1] != pytest.approx(validated[-1][1], rel=1e-6)
    tested = [(row["step"], row["test/bits_per_base"]) for row in metrics if "test/bits_per_base" in row]
    assert tested == [(6, pytest.approx(results["bits_per_base"]["test"], rel=1e-6))]
    assert all(row["train/bases_per_second"] > 0 for row in metrics if "train/bases_per_second" in row)
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_reported_bits_are_those_of_exported_model(tiny: Configure, genome: Path, tmp_path: Path) -> None:
    """Score the held-out record again, window by window, with nothing of the run but its model folder."""
    results = pretrain(tiny(), tmp_path / "run")
    model = load(tmp_path / "run")
    alphabet = get_alphabet("dna")
    for split, name in (("valid", "two"), ("test", "three")):
        bases = Genome(genome, alphabet).fetch(name)
        nats, count = 0.0, 0
        for start in range(0, len(bases) - 1, 32):
            window = torch.from_numpy(bases[start : start + 33].copy())[None]
            with torch.no_grad():
                logits = model(window[:, :-1]).logits[0].double()
            nats += F.cross_entropy(logits, window[0, 1:].long(), reduction="sum").item()
            count += window.shape[1] - 1
        assert count == len(bases) - 1
        assert results["bits_per_base"][split] == pytest.approx(nats / count / np.log(2), rel=1e-5)


def test_markov_orders_are_scored_on_the_same_windows(tiny: Configure, genome: Path, tmp_path: Path) -> None:
    """Order 0 by hand: both strands counted, add one, over the whole record but its first base."""
    results = pretrain(tiny("data.markov_orders=[0]", "train.max_steps=1"), tmp_path / "run")
    alphabet = get_alphabet("dna")
    records = Genome(genome, alphabet)
    counts = np.bincount(records.fetch("one"), minlength=8)[:4]
    counts = counts + counts[::-1] + 1
    bits = -np.log2(counts / counts.sum())
    expected = bits[records.fetch("two")[1:]].mean()
    assert results["markov_bits_per_base"]["valid"] == {0: pytest.approx(expected, rel=1e-9)}


def test_a_run_is_a_function_of_its_seed(tiny: Configure, tmp_path: Path) -> None:
    first = pretrain(tiny(), tmp_path / "first")
    again = pretrain(tiny(), tmp_path / "again")
    other = pretrain(tiny("train.seed=1"), tmp_path / "other")
    assert first["bits_per_base"] == again["bits_per_base"]
    assert first["bits_per_base"] != other["bits_per_base"]


def test_accumulation_and_checkpointing_change_nothing_but_rounding(tiny: Configure, tmp_path: Path) -> None:
    whole = pretrain(tiny("data.batch_size=8"), tmp_path / "whole")["bits_per_base"]["valid"]
    parts = pretrain(tiny("data.batch_size=2"), tmp_path / "parts")["bits_per_base"]["valid"]
    again = pretrain(tiny("train.activation_checkpointing=true"), tmp_path / "again")["bits_per_base"][
        "valid"
    ]
    # Not bit for bit: a window with N has fewer targets, and weighs more in a micro-batch of fewer windows.
    assert parts == pytest.approx(whole, rel=2e-3)
    assert again == pytest.approx(whole, rel=2e-3)


def test_bfloat16_autocast_learns_the_same(tiny: Configure, tmp_path: Path) -> None:
    """Gradient clipping and the fused optimiser included: what `trainer=gpu` asks for, on the CPU."""
    full = pretrain(tiny(), tmp_path / "full")["bits_per_base"]["valid"]
    half = pretrain(tiny("trainer.precision=bf16-mixed"), tmp_path / "half")["bits_per_base"]["valid"]
    assert half != full
    assert half == pytest.approx(full, rel=1e-2)


def test_gradients_are_clipped(tiny: Configure, tmp_path: Path) -> None:
    """AdamW does not mind a gradient's scale, but one clipped far below its epsilon teaches it nothing."""
    loose = pretrain(tiny("train.gradient_clip=null"), tmp_path / "loose")["bits_per_base"]["valid"]
    tight = pretrain(tiny("train.gradient_clip=1e-9"), tmp_path / "tight")["bits_per_base"]["valid"]
    assert tight > loose + 0.01


def test_the_model_learns(tiny: Configure, tmp_path: Path) -> None:
    """A record of one repeated word must end far below two bits."""
    path = tmp_path / "repeat.fa"
    path.write_text("".join(f">{name}\n{'ACGGT' * 200}\n" for name in ("one", "two", "three")))
    results = pretrain(
        tiny(
            f"data.fasta={path}",
            "train.max_steps=60",
            "train.validate_every=60",
            "data.reverse_complement=false",
        ),
        tmp_path / "run",
    )
    assert results["bits_per_base"]["test"] < 0.5


def test_bytes_alphabet_and_no_held_out_records(tiny: Configure, tmp_path: Path) -> None:
    results = pretrain(
        tiny("data.alphabet=bytes", "data.valid=[]", "data.test=[]", "train.max_steps=1"), tmp_path / "run"
    )
    assert results["bits_per_base"] == {}
    assert load(tmp_path / "run").config.padded_vocab_size == 256


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def truncated_gzip(folder: Path) -> Path:
    path = folder / "cut.fa.gz"
    path.write_bytes(gzip.compress(b">one\n" + b"ACGT" * 20_000)[:100])
    return path


def long_record(name: str) -> str:
    return f">{name}\n{'ACGT' * 100}\n"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent.fa", "absent.fa"),
        (lambda folder: write(folder / "empty.fa", ""), "empty.fa"),
        (truncated_gzip, "cut.fa.gz"),
        (lambda folder: write(folder / "protein.fa", ">p53\n" + "MEEPQSDPSVEPPLSQETFSDLWKLLPE" * 20), "p53"),
        (lambda folder: write(folder / "twice.fa", long_record("one") * 2), "one"),
        (lambda folder: write(folder / "short.fa", ">one\nACGT\n>two\nACGTACGT\n"), "two"),
        (lambda folder: write(folder / "n.fa", f">one\n{'N' * 400}\n>two\n{'N' * 400}\n"), "n.fa"),
    ],
    ids=["missing", "empty", "truncated gzip", "protein", "duplicate names", "too short", "only N"],
)
def test_bad_fasta_is_one_line_and_no_folder(
    configure: Configure, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    folder = tmp_path / "run"
    path = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as error:
        pretrain(configure(f"data.fasta={path}", "data.max_length=32", "model.n_layer=1"), folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.valid=[four]", "data.valid: no record 'four'"),
        (
            "data.max_length=5000",
            "no record of the FASTA is as long as a window of 5,001 bases: the longest, one",
        ),
        ("data.max_length=0", "data.max_length: must be at least 1 (got 0)"),
        ("data.alphabet=rna", "unknown alphabet 'rna'; choose one of: dna, bytes"),
        ("data.markov_orders=[40]", "data.markov_orders: must lie between 0 and 12 (got 40)"),
        ("train.global_batch_size=9", "train.global_batch_size=9 is not a multiple of data.batch_size=4"),
        ("train.max_steps=0", "train.max_steps: must be at least 1 (got 0)"),
        ("train.checkpoint_every=0", "train.checkpoint_every: must be at least 1 (got 0)"),
        ("model.d_model=-1", "model.d_model: must be a whole number of at least 1 (got -1)"),
        ("model.vocab_size=4", "model.vocab_size is 4, but alphabet 'dna' has 8 ids"),
        ("+nosuch=1", "unknown setting nosuch; the settings are data, model, train"),
        ("ckpt_path=[a]", "no checkpoint [a]"),
        ("trainer.precision=foo", "trainer: "),
        ("trainer.accelerator=quantum", "trainer: "),
        ("+trainer.max_epochs=1", "trainer.max_epochs"),
        ("train.learning_rate=0", "train.learning_rate: must be positive (got 0.0)"),
        ("train.seed=-1", "train.seed: must lie between 0 and 4294967295 (got -1)"),
        ("train.weight_decay=-1", "train.weight_decay: must be at least 0 (got -1.0)"),
        ("train.gradient_clip=-1", "train.gradient_clip: must be positive or null (got -1.0)"),
        ("train.betas=[0.9]", "train.betas: must be two numbers from 0 to below 1 (got [0.9])"),
        ("train.epsilon=0", "train.epsilon: must lie between 0 and 1 (got 0.0)"),
        ("ckpt_path=nowhere.ckpt", "no checkpoint nowhere.ckpt"),
        ("ckpt_path=last", "ckpt_path=last: no checkpoint of an earlier run in"),
    ],
)
def test_bad_setting_is_one_line_and_no_folder(
    tiny: Configure, tmp_path: Path, override: str, message: str
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UserError) as error:
        pretrain(tiny(override), folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("hook", "steps", "words"),
    [
        ("configure_optimizers", 0, "stopped by SIGTERM at once; there is no checkpoint yet"),
        ("loss_sum", 1, "stopped by SIGTERM after step 1; resume with ckpt_path="),
        ("test_step", 1, "stopped by SIGTERM at once; the last checkpoint is "),
    ],
)
def test_stop_before_first_step_and_while_scoring(
    tiny: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, steps: int, words: str
) -> None:
    """The same command then does what is left, and a process's own handlers are back after either."""
    before = signal.getsignal(signal.SIGTERM)
    home = NextBase if hook == "loss_sum" else Task
    plain = getattr(home, hook)

    def stopped(task: Any, *arguments: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return plain(task, *arguments)

    folder = tmp_path / "run"
    cfg = tiny("train.max_steps=1", "ckpt_path=auto")
    with monkeypatch.context() as patch:
        patch.setattr(home, hook, stopped)
        with pytest.raises(Interrupted) as stop:
            pretrain(cfg, folder)
    assert (stop.value.status, str(stop.value).startswith(words)) == (143, True), stop.value
    assert signal.getsignal(signal.SIGTERM) == before
    assert (folder / "checkpoints" / "last.ckpt").exists() == (steps > 0)
    assert pretrain(cfg, folder)["steps"] == 1
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(UserError, match=r"has done 1 steps of 1: nothing is left to do"):
        pretrain(cfg, folder)


def test_the_logged_loss_is_that_of_the_step(tiny: Configure, tmp_path: Path) -> None:
    """Of all its micro-batches: at the first step, weights being equal, the mean over the same windows."""
    losses = []
    for batch_size in (8, 4, 2):
        folder = tmp_path / str(batch_size)
        pretrain(tiny(f"data.batch_size={batch_size}", "train.max_steps=1", "train.seed=3"), folder)
        losses.append(read_metrics(folder / "metrics.csv")[0]["train/loss"])
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-5)


def test_nan_loss_names_step_regions_and_parameter(tiny: Configure, tmp_path: Path) -> None:
    overrides = ("train.learning_rate=1e12", "train.gradient_clip=null", "train.warmup_fraction=0")
    with pytest.raises(UserError) as error:
        pretrain(tiny(*overrides, "train.max_steps=50", "train.validate_every=50"), tmp_path / "run")
    message = str(error.value)
    assert "the loss is nan at step" in message or "the loss is inf at step" in message
    assert "regions one:" in message
    assert "of backbone." in message
    assert "\n" not in message
