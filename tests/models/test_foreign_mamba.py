"""Mamba-1 models of transformers and mamba_ssm, read and written: judged by transformers itself."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnamamba import UserError, load
from dnamamba.foreign import write_foreign
from dnamamba.inference.generation import generate
from dnamamba.models import LanguageModel, MambaConfig

VOCABULARY = 12
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "state_size": 8,
    "conv_kernel": 3,
    "time_step_rank": 2,
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Their note that their CUDA kernels are not installed."""
    logging.getLogger("transformers").setLevel(logging.CRITICAL)


def built(shape: dict[str, Any]) -> Any:
    """Their model of a shape."""
    from transformers import MambaConfig, MambaForCausalLM  # takes seconds

    return MambaForCausalLM(MambaConfig(**shape)).eval()


@pytest.fixture(scope="module")
def theirs() -> Any:
    torch.manual_seed(0)
    model = built(SHAPE)
    with torch.no_grad():  # away from the initial values, which hide a wrong order
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


@pytest.fixture
def folder(theirs: Any, tmp_path: Path) -> Path:
    theirs.save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


@pytest.fixture
def state_spaces(theirs: Any, tmp_path: Path) -> Path:
    """The same weights as mamba_ssm saves them: padded to 16 rows, the tied head repeated."""
    made = tmp_path / "ssm"
    made.mkdir()
    config = {
        "d_model": 16,
        "n_layer": 3,
        "vocab_size": VOCABULARY,
        "ssm_cfg": {"d_state": 8, "d_conv": 3, "dt_rank": 2},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 8,
    }
    (made / "config.json").write_text(json.dumps(config))
    tensors = {name.replace("embeddings", "embedding"): value for name, value in theirs.state_dict().items()}
    rows = torch.cat([tensors["backbone.embedding.weight"], torch.zeros(4, 16)])
    tensors["backbone.embedding.weight"] = tensors["lm_head.weight"] = rows
    torch.save(tensors, made / "pytorch_model.bin")
    return made


def tokens(length: int = 40) -> Tensor:
    return torch.randint(0, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(1))


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_logits_and_every_hidden_state_equal_transformers(theirs: Any, folder: Path) -> None:
    model = load(folder)
    assert isinstance(model, LanguageModel)
    assert model.config.alphabet == "characters"
    with torch.no_grad():
        found = theirs(tokens(), output_hidden_states=True)
        close(model(tokens()).logits, found.logits)
        # Theirs begin after block 1, and end with the last block's once more after the norm.
        for block, hidden in enumerate(found.hidden_states[:2], start=1):
            close(model.backbone(tokens(), blocks=block).hidden, hidden)
        last: list[Tensor] = []
        model.backbone.blocks()[-1].register_forward_hook(lambda *made: last.append(made[-1][0]))
        close(model.backbone(tokens()).hidden, found.hidden_states[3])
        close(last[0], found.hidden_states[2])
        assert (last[0] - found.hidden_states[3]).abs().max() > 0.1


def test_every_gradient_equals_transformers(theirs: Any, folder: Path) -> None:
    model = load(folder)
    assert isinstance(model, LanguageModel)
    weight = torch.randn(2, 40, VOCABULARY, generator=torch.Generator().manual_seed(2))
    (model(tokens()).logits * weight).sum().backward()
    theirs.zero_grad()
    (theirs(tokens()).logits * weight).sum().backward()
    wanted = dict(theirs.named_parameters())
    assert set(wanted) == set(model.mapped)
    for name, ours in model.mapped.items():
        found, scale = model.get_parameter(ours).grad, wanted[name].grad.abs().max()
        torch.testing.assert_close(found / scale, wanted[name].grad / scale, rtol=1e-4, atol=1e-5)


def test_generation_token_by_token_has_logits_of_transformers(theirs: Any, folder: Path) -> None:
    """A step at a time with the state carried, compared with their cache, on the tokens that they drew."""
    model = load(folder)
    prompt = tokens(9)[:1]
    torch.manual_seed(5)
    made = theirs.generate(
        prompt, max_new_tokens=12, do_sample=True, output_logits=True, return_dict_in_generate=True
    )
    drawn = made.sequences[0, 9:]
    assert len(drawn.unique()) > 3
    hidden, state = model.backbone(prompt)
    recurrence = model.backbone.recurrence(1, torch.float32)
    recurrence.load(state, slice(0, 1))
    logits = recurrence.head(hidden[:, -1])
    for token, wanted in zip(drawn, made.logits, strict=True):
        close(logits, wanted)
        logits = recurrence.step(token[None])


def test_mamba_ssm_checkpoint_has_logits_of_its_weights(theirs: Any, state_spaces: Path) -> None:
    model = load(state_spaces)
    assert isinstance(model, LanguageModel)
    assert (model.config.vocab_size, model.config.padded_vocab_size) == (12, 16)
    other = built({**SHAPE, "vocab_size": 16, "layer_norm_epsilon": 1e-5})
    other.load_state_dict(torch.load(state_spaces / "pytorch_model.bin", weights_only=True))
    with torch.no_grad():
        close(model(tokens()).logits, other(tokens()).logits)


def test_a_loaded_model_names_what_was_mapped(folder: Path) -> None:
    mapped = load(folder).mapped
    assert mapped["backbone.embeddings.weight"] == "backbone.embedding.weight"
    assert set(mapped) == set(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("format_", ["hf", "state_spaces"])
def test_what_is_written_has_same_logits_in_transformers(format_: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = LanguageModel(MambaConfig(d_model=16, n_layer=2, d_state=4)).eval()
    out = tmp_path / "out"
    write_foreign(model.config, model.state_dict(), out, format_, "# card\n")
    if format_ == "hf":
        from transformers import MambaForCausalLM

        other, report = MambaForCausalLM.from_pretrained(out, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
    else:
        shape = {"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
        other = built(shape)
        other.load_state_dict(torch.load(out / "pytorch_model.bin", weights_only=True))
    ids = tokens() % 8
    with torch.no_grad():
        close(other.eval()(ids).logits, model(ids).logits)
    again = load(out)
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert (out / "README.md").read_text() == "# card\n"


def changed(name: str, change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def change_file(folder: Path) -> None:
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name)

    return change_file


def config_with(**values: Any) -> Callable[[Path], None]:
    def change_file(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change_file


def another_bin(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["backbone.norm_f.weight"] = tensors["backbone.norm_f.weight"] + 1
    torch.save(tensors, folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"backbone.norm_f.weight": Path("x")}, folder / "pytorch_model.bin")


def one_bit(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    content = bytearray((folder / "pytorch_model.bin").read_bytes())
    place = content.index(tensors["backbone.embeddings.weight"].numpy().tobytes())
    content[place + 1] ^= 1
    (folder / "pytorch_model.bin").write_bytes(content)


def part_missing(folder: Path) -> None:
    path = folder / "model.safetensors"
    names = load_file(path)
    path.unlink()
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00002.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def cut_bin(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pointer(name: str) -> Callable[[Path], None]:
    """What a clone without Git LFS leaves of a file."""

    def change_file(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
        )

    return change_file


def another_class(folder: Path) -> None:
    """The folder of transformers' `MambaModel`, which has no head and other names."""
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name.removeprefix("backbone."): value for name, value in tensors.items()},
        folder / "model.safetensors",
    )


NORM = "backbone.layers.1.norm.weight"
HEAD = torch.ones(VOCABULARY, 16)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("model.safetensors", lambda t: t.pop(NORM)), rf"{NORM} is missing; give the whole"),
        (changed("model.safetensors", lambda t: t.update(extra=HEAD)), "extra is left over"),
        (
            changed("model.safetensors", lambda t: t.update({"lm_head.weight": HEAD})),
            "lm_head.weight differs from backbone.embeddings.weight",
        ),
        (
            changed("model.safetensors", lambda t: t.update({NORM: torch.ones(15)})),
            rf"{NORM} is \[15\], not \[16\]",
        ),
        (another_bin, "model.safetensors and pytorch_model.bin differ in backbone.norm_f.weight"),
        (cut, "model.safetensors is missing or damaged"),
        (cut_bin, "pytorch_model.bin is missing or damaged"),
        (pointer("model.safetensors"), "model.safetensors: expected tensors, got a pointer of Git LFS"),
        (pointer("pytorch_model.bin"), "pytorch_model.bin: expected tensors, got a pointer of Git LFS"),
        (another_class, "backbone.embeddings.weight is missing; .* is missing; .* is left over"),
        (config_with(vocab_size=16), r"backbone.embedding.weight is \[12, 16\], not \[16, 16\]"),
        (pickled, r"holds more than tensors \(Unsupported global: GLOBAL pathlib.*\); dnamamba never"),
        (one_bit, "pytorch_model.bin is damaged .* \\(the checksum of .* is wrong\\)"),
        (part_missing, "model-00001-of-00002.safetensors is missing or damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (config_with(use_bias=True), "use_bias: only False is supported"),
        (config_with(model_type="mamba2"), "a model of another kind \\(got 'mamba2'\\)"),
        (config_with(vocab_size=10), "vocab_size: 10 ids may be any letters"),
        (config_with(hidden_size="16"), "hidden_size: expected a number"),
    ],
)
def test_folder_that_does_not_fit_is_refused(folder: Path, change: Callable[[Path], None], said: str) -> None:
    change(folder)
    with pytest.raises(UserError, match=said) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def test_equal_safetensors_and_bin_are_read(folder: Path, theirs: Any) -> None:
    torch.save(theirs.state_dict(), folder / "pytorch_model.bin")
    assert len(load(folder).mapped) == len(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rms_norm": False}, "rms_norm: only True"),
        ({"ssm_cfg": {"layer": "Mamba2"}}, "layer: only 'Mamba1'"),
        ({"attn_layer_idx": [1]}, "attn_layer_idx"),
        ({"surprise": 1}, "unknown settings surprise"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(
    state_spaces: Path, values: dict[str, Any], said: str
) -> None:
    config_with(**values)(state_spaces)
    with pytest.raises(UserError, match=said):
        load(state_spaces)


def test_text_model_is_refused_where_bases_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = MambaConfig(d_model=8, n_layer=1, alphabet="text", vocab_size=300)
    model = LanguageModel(config).eval()
    write_foreign(config, model.state_dict(), tmp_path / "text", "hf", "")
    (tmp_path / "text" / "dnamamba.json").unlink()
    again = load(tmp_path / "text")
    ids = torch.tensor([[299, 3, 257]])
    assert torch.equal(again(ids).logits, model(ids).logits)
    with pytest.raises(UserError, match="text tokenizer's tokens"):
        generate(again, "ACGT", 3)


def test_a_file_names_the_alphabet(folder: Path) -> None:
    (folder / "dnamamba.json").write_text('{"alphabet": "dna"}')
    assert load(folder).config.alphabet == "dna"


def cached(root: Path, folder: Path) -> None:
    """A repository as huggingface_hub leaves it in its cache."""
    snapshot = root / "models--someone--small" / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    (root / "models--someone--small" / "refs").mkdir()
    (root / "models--someone--small" / "refs" / "main").write_text("0" * 40)


def test_downloaded_repository_is_read_by_name_without_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    cached(tmp_path / "cache", folder)
    model = load("someone/small")
    assert torch.equal(model(tokens()).logits, load(folder)(tokens()).logits)
    with pytest.raises(UserError, match="no model at someone/other: neither a path here nor a repository"):
        load("someone/other")


def test_missing_path_below_folder_here_asks_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="no model at runs/first: neither a checkpoint nor a folder"):
        load("runs/first")


def test_weights_of_8_bits_are_named(tmp_path: Path) -> None:
    model = LanguageModel(MambaConfig(d_model=8, n_layer=1))
    write_foreign(model.config, model.state_dict(), tmp_path / "hf", "hf", "card")
    file = tmp_path / "hf" / "model.safetensors"
    weights = load_file(file)
    name = "backbone.layers.0.mixer.A_log"
    save_file({**weights, name: weights[name].to(torch.float8_e4m3fn)}, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"hf.*: {name}: expected .* \(got torch.float8_e4m3fn\); give the"):
        load(tmp_path / "hf")
