"""Runs on text and sound: bits per byte, resume, generation, and what refuses their models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file

from dnamamba import UserError, embed, generate, load
from dnamamba.commands.plan import plan_pretraining
from dnamamba.commands.pretrain import pretrain, settings_of
from dnamamba.config import composed
from dnamamba.data.sound import read_sound, write_sound
from dnamamba.generate import run

TEXT = "the quick brown fox jumps over the lazy dog, caf\u00e9. "
SMALL = (
    "data=bytes",
    "model.d_model=16",
    "model.n_layer=1",
    "data.max_length=32",
    "data.batch_size=8",
    "train.global_batch_size=8",
    "train.max_steps=6",
    "train.validate_every=3",
    "train.checkpoint_every=3",
    "train.log_every=1",
)


def configured(path: Path, *overrides: str) -> DictConfig:
    return composed("pretrain", [*SMALL, f"data.path={path}", *overrides])


def generated(model: Path, out: Path, *overrides: str) -> None:
    run(composed("generate", [f"model={model}", f"out={out}", *overrides]))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A text that repeats, a run on it, and its results."""
    home = tmp_path_factory.mktemp("text")
    (home / "a.txt").write_text(TEXT * 60, encoding="utf-8")
    return home, home / "run", pretrain(configured(home / "a.txt"), home / "run")


def test_results_are_bits_per_byte_of_held_out_end(text: tuple[Path, Path, dict[str, Any]]) -> None:
    """Scored again with nothing but the model: 2 x 5 % of the file, each byte but the first of a part."""
    home, folder, results = text
    model, content = load(folder), np.frombuffer((home / "a.txt").read_bytes(), dtype=np.uint8)
    size = len(content)
    edges = {"valid": (round(size * 0.9), round(size * 0.95)), "test": (round(size * 0.95), size)}
    for split, (start, end) in edges.items():
        nats = 0.0
        for first in range(start, end - 1, 32):
            window = torch.from_numpy(content[first : min(first + 33, end)].copy())[None]
            with torch.no_grad():
                found = model(window[:, :-1]).logits[0].double().log_softmax(-1)
            nats -= found.gather(1, window[0, 1:, None].long()).sum().item()
        bits = nats / (end - start - 1) / np.log(2)
        assert results["bits_per_byte"][split] == pytest.approx(bits, rel=1e-5)
    assert "bits_per_base" not in results
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def assert_resumes(path: Path, out: Path, *overrides: str) -> None:
    """Compare the weights of a run, bit for bit, with those of one that stopped and was resumed."""
    constant = ("train.learning_rate=1e-3", "train.final_learning_rate=1e-3", "train.warmup_fraction=0")
    for name, more in (
        ("whole", ()),
        ("part", ("train.max_steps=3",)),
        ("resumed", (f"ckpt_path={out / 'part'}",)),
    ):
        pretrain(configured(path, *constant, *overrides, *more), out / name)
    found, expected = (load_file(out / run / "model" / "model.safetensors") for run in ("resumed", "whole"))
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


def test_resumed_run_equals_uninterrupted_bit_for_bit(
    text: tuple[Path, Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, folder, _ = text
    monkeypatch.setattr("dnamamba.reports.pretraining.save_figure", lambda *_: None)
    assert_resumes(home / "a.txt", tmp_path)
    (tmp_path / "a.txt").write_text(TEXT * 61, encoding="utf-8")
    with pytest.raises(UserError, match="genome"):
        pretrain(configured(tmp_path / "a.txt", f"ckpt_path={folder}"), tmp_path / "other")


def test_resumed_run_on_sound_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("soundfile")
    monkeypatch.setattr("dnamamba.reports.pretraining.save_figure", lambda *_: None)
    (tmp_path / "sound").mkdir()
    wave = (128 + 100 * np.sin(np.arange(800) / 5)).astype(np.uint8)
    for number in range(3):
        write_sound(tmp_path / "sound" / f"{number}.wav", np.roll(wave, 9 * number), 16_000)
    held_out = ("data.valid=[0.wav]", "data.test=[1.wav]")
    assert_resumes(tmp_path / "sound", tmp_path, "data.alphabet=mulaw", *held_out)


def test_text_model_writes_text(text: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    _, folder, _ = text
    generated(folder, tmp_path / "a.txt", "length=70", "prompt=café", "seed=2")
    (expected,) = generate(load(folder), "café", 70, seed=2)
    found = (tmp_path / "a.txt").read_bytes()
    assert (len(found), found.decode("utf-8", "replace")) == (70, expected)
    generated(folder, tmp_path / "b.txt", "length=5", "seed=1")
    assert (tmp_path / "b.txt").read_bytes().decode("utf-8", "replace") == generate(
        load(folder), "\n", 5, seed=1
    )[0]
    (tmp_path / "prompt").write_text("café", encoding="utf-8")
    generated(folder, tmp_path / "c.txt", "length=70", f"prompt_file={tmp_path / 'prompt'}", "seed=2")
    assert (tmp_path / "c.txt").read_bytes() == found


@pytest.mark.parametrize(
    ("out", "overrides", "message"),
    [
        ("a.fa", (), r"^out=.*a\.fa: must be a file's name that ends in \.txt$"),
        ("a.txt", ("batch=2",), r"^batch: a \.txt file holds one sequence \(got 2\); set another seed$"),
        ("a.txt", ("region=a:1-5",), "^region: the model reads bytes, not bases; give prompt_file$"),
        ("a.txt", ("prompt=a", "prompt_file=/dev/null"), "^give either prompt or prompt_file$"),
        ("a.txt", ("prompt_file=gone",), "^prompt_file: no such file, gone"),
    ],
)
def test_generation_refuses_what_does_not_fit(
    text: tuple[Path, Path, dict[str, Any]],
    tmp_path: Path,
    out: str,
    overrides: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        generated(text[1], tmp_path / out, *overrides)
    assert not list(tmp_path.iterdir())


def test_model_of_bases_writes_no_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.wav: must be a file's name that ends in \.fa or \.fasta$"):
        run(composed("generate", [f"out={tmp_path / 'a.wav'}", "prompt=ACGT"]))


def test_embedding_refuses_model_of_bytes(text: tuple[Path, Path, dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=r"^model: reads bytes, not bases; give a model of DNA$"):
        embed(load(text[1]), ["ACGT"])


def test_sound_is_trained_on_and_generated(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    (tmp_path / "zero").mkdir()
    wave = (128 + 100 * np.sin(np.arange(800) / 5)).astype(np.uint8)
    for number in range(4):
        write_sound(tmp_path / "zero" / f"{number}.wav", np.roll(wave, number), 16_000)
    write_sound(tmp_path / "zero" / "short.wav", wave[:20], 16_000)
    given = ("data.alphabet=mulaw", "data.valid=[zero/0.wav]", "data.test=[zero/1.wav]")
    data = settings_of(configured(tmp_path, *given), tmp_path / "none").build().data
    assert data.notes == ("1 training files have fewer than 33 bytes and are left out",)
    results = pretrain(configured(tmp_path, *given), tmp_path / "run")
    assert 0 < results["bits_per_byte"]["test"] < 8.5
    generated(tmp_path / "run", tmp_path / "new.wav", "length=300", "seed=3")
    again = ("length=300", "seed=3", "sample_rate=16000")
    generated(tmp_path / "run", tmp_path / "again.wav", *again)
    found = read_sound(tmp_path / "new.wav", 16_000)
    assert len(found) == 300
    assert len(set(found.tolist())) > 20  # of a model that has learnt next to nothing
    np.testing.assert_array_equal(found, read_sound(tmp_path / "again.wav", 16_000))


@pytest.mark.parametrize(("name", "bytes_per_step"), [("text", 32 * 1024), ("sound", 8 * 16_000)])
def test_experiment_is_planned_without_files(name: str, bytes_per_step: int) -> None:
    made = plan_pretraining(composed("plan", [f"experiment=bytes/{name}", "plan.device=h200"]))
    assert (made.bases, made.parameters) == (2000 * bytes_per_step, 1_432_192)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.alphabet=dna",
            r"^data\.alphabet: expected octets .* \(got dna\); set one",
        ),
        ("data.valid_fraction=0.5", r"^data\.valid_fraction: must lie between 0 and 0\.5 \(got 0\.5\)$"),
        (
            "data.sample_rate=8000",
            r"^data\.sample_rate: has no effect with data\.alphabet=octets \(got 8000\)",
        ),
        (
            ["data.valid=[a.txt]", "data.test_fraction=0.2"],
            r"^data\.test_fraction: has no effect where data\.valid or data\.test names files \(got 0\.2\)",
        ),
        ("data.max_length=0", r"^data\.max_length: must be at least 1 \(got 0\)$"),
    ],
)
def test_settings_out_of_range_name_their_key(
    tmp_path: Path, override: str | list[str], message: str
) -> None:
    given = [override] if isinstance(override, str) else override
    with pytest.raises(UserError, match=message):
        settings_of(configured(tmp_path, *given), tmp_path / "run")
