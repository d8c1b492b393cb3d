"""Text from a model of tokens: the greedy tokens of transformers, and the command that writes them."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from dnamamba import LanguageModel, MambaConfig, UserError, load
from dnamamba import generate as generate_bases
from dnamamba.generate import run
from dnamamba.inference.generation import generate_blocks
from dnamamba.inference.sampling import Sampling
from dnamamba.inference.text import TextTokenizer, generate_text, tokenizer_of

tokenizers = pytest.importorskip("tokenizers")
END = "<|endoftext|>"
PROMPT = "The cat sat on the mat, and then"
Command = Callable[..., None]


@pytest.fixture(scope="module")
def theirs() -> Any:
    """Random weights for 277 tokens, padded to 280, that prefer other tokens at other places."""
    from transformers import MambaConfig, MambaForCausalLM  # takes seconds

    logging.getLogger("transformers").setLevel(logging.CRITICAL)
    torch.manual_seed(0)
    shape = {"vocab_size": 280, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    ends = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    model = MambaForCausalLM(MambaConfig(**shape, **ends)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        model.backbone.embeddings.weight[0] = 0  # the end of a text, which is drawn never
    return model


@pytest.fixture(scope="module")
def folder(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as mamba_ssm saves it, with a byte-level tokenizer.json of 277 tokens."""
    made = tmp_path_factory.mktemp("text") / "mamba-tiny"
    made.mkdir()
    config = {
        "d_model": 16,
        "n_layer": 2,
        "vocab_size": 277,
        "ssm_cfg": {"d_state": 4},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 8,
    }
    (made / "config.json").write_text(json.dumps(config))
    weights = {name.replace("embeddings", "embedding"): value for name, value in theirs.state_dict().items()}
    torch.save(weights, made / "pytorch_model.bin")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=277,
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{PROMPT} the cat and the other cats sat there together"] * 3, trainer)
    assert tokenizer.get_vocab_size() == 277
    tokenizer.save(str(made / "tokenizer.json"))
    return made


@pytest.fixture
def command(inference_config: Callable[..., DictConfig], folder: Path) -> Command:
    return lambda *overrides: run(inference_config("generate", f"model={folder}", *overrides))


def language_model(folder: Path) -> LanguageModel:
    model = load(folder)
    assert isinstance(model, LanguageModel)
    return model


def greedy(theirs: Any, ids: np.ndarray, length: int) -> torch.Tensor:
    prompt = torch.from_numpy(ids).long()[None]
    options: dict[str, Any] = {"do_sample": False, "suppress_tokens": [277, 278, 279]}
    return theirs.generate(prompt, max_new_tokens=length, **options)[0, len(ids) :]


def test_greedy_tokens_equal_transformers(theirs: Any, folder: Path) -> None:
    model, tokenizer = language_model(folder), tokenizer_of(folder)
    assert (model.config.alphabet, model.config.padded_vocab_size, tokenizer.size) == ("text", 280, 277)
    ids = tokenizer.encode(PROMPT)
    assert 1 < len(ids) < len(PROMPT)  # there are tokens of several letters
    wanted = greedy(theirs, ids, 70)
    assert len(wanted.unique()) > 3
    (block, more) = generate_blocks(model, [ids], 70, Sampling(0), 0, 1, np.arange(277))
    assert np.concatenate([block, more], axis=1)[0].tolist() == wanted.tolist()
    text = generate_text(model, tokenizer, PROMPT, 70, sampling=Sampling(0))
    raw = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert PROMPT + text[0] == raw.decode([*ids.tolist(), *wanted.tolist()])


def test_padded_ids_are_never_drawn(folder: Path) -> None:
    model, tokenizer = language_model(folder), tokenizer_of(folder)
    with torch.no_grad():  # all tokens alike, but those of the padding, which are far above them
        model.backbone.embedding.weight[:277] = model.backbone.embedding.weight[1]
        hidden = model.backbone(torch.tensor([[1, 2]])).hidden[0, -1]
        model.backbone.embedding.weight[277:] = 100 * hidden
    ids = tokenizer.encode("a")
    made = np.concatenate(list(generate_blocks(model, [ids], 200, Sampling(), 1, 4, np.arange(277))), axis=1)
    assert made.max() < 277
    assert len(np.unique(made)) > 200
    assert (made > 255).any()


def test_a_text_ends_before_special_token(folder: Path) -> None:
    tokenizer = tokenizer_of(folder)
    ids, new = tokenizer.encode("The cat"), tokenizer.encode(" sat on")
    assert tokenizer.continuation(ids, new) == " sat on"
    cut = np.concatenate([new, [0], new])
    assert tokenizer.continuation(ids, cut) == " sat on"
    model = language_model(folder)
    with torch.no_grad():  # the end is the only likely token, wherever
        model.backbone.embedding.weight[0] = 100 * model.backbone(torch.from_numpy(ids)[None]).hidden[0, -1]
    assert generate_text(model, tokenizer, "The cat", 10_000, sampling=Sampling(0)) == [""]


def test_command_prints_prompt_and_what_follows(
    command: Command, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(f"prompt={PROMPT}", "length=12", "batch=2", "seed=3", "temperature=0.7", "device=cpu")
    made = generate_text(
        language_model(folder), tokenizer_of(folder), PROMPT, 12, sampling=Sampling(0.7), seed=3, batch=2
    )
    assert made[0] != made[1]
    shown = capsys.readouterr().out
    assert shown.count(PROMPT) == 2
    assert shown.startswith(PROMPT)
    assert all(letter.isprintable() or letter == "\n" for letter in shown)


def test_command_writes_texts_to_file(command: Command, folder: Path, tmp_path: Path) -> None:
    command(f"prompt={PROMPT}", "length=12", "temperature=0", f"out={tmp_path / 'new.txt'}")
    (text,) = generate_text(language_model(folder), tokenizer_of(folder), PROMPT, 12, sampling=Sampling(0))
    assert (tmp_path / "new.txt").read_text() == f"{PROMPT}{text}\n"


def test_tokenizer_may_lie_elsewhere(
    command: Command, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "other.json"
    moved.write_bytes((folder / "tokenizer.json").read_bytes())
    command(f"prompt={PROMPT}", "length=3", f"tokenizer={moved}")
    assert capsys.readouterr().out.startswith(PROMPT)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["prompt=a", "out=new.fa"], "out=new.fa: must be a file's name that ends in .txt"),
        (["fasta=GENOME"], "prompt: a text model continues prompt=TEXT"),
        (["prompt=a", "tokenizer=BAD"], "bad.json is damaged or not a tokenizer"),
        (["prompt=a", "tokenizer=LARGE"], r"large.json: expected at most 280 tokens, .* \(got 300\)"),
        (["prompt=a", "length=0"], r"length: must be at least 1 \(got 0\)"),
        (["prompt=a\udc80"], r"prompt: expected text in UTF-8 \(got a\\udc80\)"),
    ],
)
def test_a_mistake_is_one_line(
    command: Command,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "g.fa").write_text(">a\nACGT\n")
    large = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    large.add_tokens([f"<{i}>" for i in range(23)])
    large.save(str(tmp_path / "large.json"))
    named = {"GENOME": "g.fa", "BAD": "bad.json", "LARGE": "large.json"}
    for word, name in named.items():
        overrides = [each.replace(word, name) for each in overrides]
    with pytest.raises(UserError, match=said) as refused:
        command(*overrides)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "new.fa").exists()


def test_folder_without_tokenizer_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer.json is missing: a text model needs its tokenizer"):
        tokenizer_of(tmp_path)


def test_package_that_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnamamba.optional.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"a text model needs tokenizers.*pip install 'dnamamba\[text\]'"):
        TextTokenizer(folder / "tokenizer.json")


def test_models_of_bases_and_of_text_refuse_each_other(folder: Path) -> None:
    model = LanguageModel(MambaConfig(d_model=8, n_layer=1)).eval()
    with pytest.raises(UserError, match="the model reads dna, not a text tokenizer's tokens"):
        generate_text(model, tokenizer_of(folder), "a", 3)
    with pytest.raises(UserError, match="model: reads a text tokenizer's tokens, not bases"):
        generate_bases(language_model(folder), "ACGT", 3)
