"""HyenaDNA: equal to its published code and to a direct sum, read in every published layout, and trainable.

tests/models/hyena holds what the published code made of random weights; studies/hyena_reference.py
remakes it.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnamamba import LanguageModel, UserError, get_alphabet, load
from dnamamba.foreign import write_foreign
from dnamamba.models import DecoderConfig, SequenceModel
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.hyena.filter import positions_of
from dnamamba.training.optim import parameter_groups
from tests.families import assert_causal, assert_recomputed_gradients_are_equal

KEPT = Path(__file__).parent / "hyena"
SHAPE: dict[str, Any] = {"d_model": 8, "n_layer": 2, "max_length": 40, "d_filter": 6, "d_hidden": 16}


def loaded(folder: Path) -> LanguageModel:
    model = load(folder)
    assert isinstance(model, LanguageModel)
    return model


def drawn(**changes: Any) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(HyenaConfig(**{**SHAPE, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_logits_and_hidden_states_equal_the_published_code() -> None:
    model, kept = loaded(KEPT), load_file(KEPT / "kept.safetensors")
    assert (model.config.alphabet, model.config.padded_vocab_size) == ("characters", 16)
    with torch.no_grad():
        close(model(kept["tokens"]).logits, kept["logits"])
        close(model.backbone(kept["tokens"]).hidden, kept["hidden"])
        close(model.backbone(kept["tokens"], blocks=1).hidden, kept["after_1"])
        close(model.backbone(kept["whole"]).hidden, kept["whole_hidden"])


def test_gradients_equal_the_published_code() -> None:
    model, kept = loaded(KEPT), load_file(KEPT / "kept.safetensors")
    (model(kept["tokens"]).logits * kept["weight"]).sum().backward()
    names = [name.removeprefix("gradient.") for name in kept if name.startswith("gradient.")]
    assert len({model.mapped[f"model.{name}"] for name in names}) == len(list(model.parameters()))
    for name in names:
        found, wanted = model.get_parameter(model.mapped[f"model.{name}"]).grad, kept[f"gradient.{name}"]
        scale = wanted.abs().max()
        torch.testing.assert_close(found / scale, wanted / scale, rtol=1e-4, atol=1e-5)


def directly(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Return logits [L, V] of tokens [L] by the papers' formulas: the convolution is a sum over pairs."""
    config, weights = model.config, {k: v.double() for k, v in model.backbone.state_dict().items()}
    assert isinstance(config, HyenaConfig)
    length, width = len(tokens), config.d_model

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + config.norm_eps).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["embedding.weight"][tokens]
    for i in range(config.n_layer):
        block, network = f"layers.{i}", f"layers.{i}.mixer.filter"
        given = linear(f"{block}.mixer.in_proj", norm(f"{block}.norm1", x))
        short = weights[f"{block}.mixer.short_conv.weight"][:, 0]
        mixed = weights[f"{block}.mixer.short_conv.bias"].repeat(length, 1)
        for t in range(length):
            for k in range(3):
                if t - k >= 0:
                    mixed[t] += short[:, 2 - k] * given[t - k]
        outer, inner, value = mixed.split(width, dim=1)
        h = weights[f"{network}.positions"][0, :length]
        for j in range(3):
            part = f"{network}.layers.{j}"
            h = (
                weights[f"{network}.frequency"]
                * (h @ weights[f"{part}.matrix"].T + weights[f"{part}.offset"])
            ).sin()
        place = torch.arange(length, dtype=torch.float64)[:, None] / (config.max_length - 1)
        fading = (-place * weights[f"{network}.rates"][0].abs()).exp() + 0.05
        taps = h @ weights[f"{network}.layers.3.matrix"].T * fading
        v, rows = inner * value, []
        for t in range(length):
            before = (taps[: t + 1].flip(0) * v[: t + 1]).sum(0)  # taps[t - s] meets v[s]
            rows.append(before + weights[f"{network}.skip"] * v[t])
        x = x + linear(f"{block}.mixer.out_proj", outer * torch.stack(rows))
        hidden = F.gelu(linear(f"{block}.fc1", norm(f"{block}.norm2", x)), approximate="tanh")
        x = x + linear(f"{block}.fc2", hidden)
    return norm("norm_f", x) @ weights["embedding.weight"].T


def test_logits_equal_direct_convolution_in_float64() -> None:
    model, tokens = drawn(), torch.randint(0, 8, (1, 37))
    wanted = directly(model, tokens[0])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits[0], wanted.float(), rtol=1e-5, atol=1e-5)
        found = model.double()(tokens).logits[0]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_positions_are_time_and_bands_of_angles() -> None:
    found = positions_of(11, 5)[0]
    for t, row in enumerate(found.tolist()):
        angle = 2 * math.pi * t / 11
        wanted = [t / 10, math.cos(1e-4 * angle), math.cos(angle), -math.sin(1e-4 * angle), -math.sin(angle)]
        assert row == pytest.approx(wanted, abs=1e-6)


def test_a_base_changes_nothing_before_it() -> None:
    assert_causal(drawn(), atol=1e-5)


def test_parameters_are_drawn_by_rule() -> None:
    torch.manual_seed(0)
    model = LanguageModel(HyenaConfig(d_model=128, n_layer=8, max_length=64))
    for name, parameter in model.named_parameters():
        last, std = name.rpartition(".")[2], parameter.std().item()
        if "norm" in name:
            assert (parameter == (last == "weight")).all(), name
        elif "short_conv" in name:  # torch's: uniform up to 1 / sqrt(3)
            assert std == pytest.approx(1 / 3, rel=0.1), name
        elif last == "frequency":
            assert (parameter == 10).all()
        elif last == "skip":
            assert std == pytest.approx(1, rel=0.25)
        elif last in ("bias", "offset"):
            assert (parameter == 0).all(), name
        else:
            share = 1 / 4 if name.endswith(("out_proj.weight", "fc2.weight")) else 1
            assert std == pytest.approx(0.02 * share, rel=0.1), name


def test_filter_norms_and_biases_never_decay() -> None:
    model = drawn()
    decayed, never = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], never["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(parameter)] for parameter in decayed["params"]}
    block = ("mixer.in_proj", "mixer.short_conv", "mixer.out_proj", "fc1", "fc2")
    wanted = {f"backbone.layers.{i}.{name}.weight" for i in range(2) for name in block}
    assert found == wanted | {"backbone.embedding.weight"}


def test_recomputed_blocks_have_the_same_gradients() -> None:
    assert_recomputed_gradients_are_equal(drawn())


def test_filter_and_long_convolution_stay_fp32_under_autocast() -> None:
    model, tokens = drawn(), torch.randint(0, 4, (1, 40))
    seen: list[Tensor] = []
    model.backbone.blocks()[0].mixer.filter.register_forward_hook(lambda *made: seen.append(made[-1]))
    with torch.no_grad():
        wanted = model(tokens).logits
        with torch.autocast("cpu", torch.bfloat16):
            found = model(tokens).logits
    assert seen[0].dtype == torch.float32
    assert torch.equal(*seen)
    torch.testing.assert_close(found.float(), wanted, rtol=0.1, atol=0.1)
    assert not torch.equal(found.float(), wanted)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_no_answer(side: Literal["left", "right"]) -> None:
    """On the left, as the published tokenizer pads; 4 is its [PAD]."""
    torch.manual_seed(0)
    shape = HyenaConfig(**SHAPE, alphabet="characters", vocab_size=12)
    model = SequenceModel(shape, DecoderConfig("classification", ("a", "b"), "mean"))
    assert get_alphabet("characters").pad_id == 4
    tokens, padding = torch.randint(7, 12, (1, 20)), torch.full((1, 15), 4)
    padded = torch.cat([padding, tokens] if side == "left" else [tokens, padding], dim=1)
    found = model(padded, torch.tensor([20]), padding=side)
    torch.testing.assert_close(found, model(tokens), rtol=1e-5, atol=1e-6)


def transformers_folder(folder: Path, **settings: Any) -> dict[str, Tensor]:
    """Write the weights that are kept as a transformers' folder of the authors; return its tensors."""
    state = torch.load(KEPT / "weights.ckpt", weights_only=True)["state_dict"]
    tensors = {
        name.replace("model.", "hyena.", 1): value.clone()
        for name, value in state.items()
        if "torchmetrics" not in name and ".3.freq" not in name and ".5.freq" not in name
    }
    tensors["lm_head.weight"] = tensors.pop("hyena.lm_head.weight")
    document = json.loads((KEPT / "config.json").read_text())
    layer = document.pop("layer")
    document |= {
        "model_type": "hyenadna",
        "max_seq_len": layer["l_max"],
        "emb_dim": layer["emb_dim"],
        "filter_order": layer["filter_order"],
        "activation_freq": layer["w"],
        **settings,
    }
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(document))
    return tensors


def test_transformers_folder_is_the_same_model(tmp_path: Path) -> None:
    transformers_folder(tmp_path / "hf")
    kept = load_file(KEPT / "kept.safetensors")
    with torch.no_grad():
        close(loaded(tmp_path / "hf")(kept["tokens"]).logits, kept["logits"])


def test_untied_head_is_read_and_used(tmp_path: Path) -> None:
    tensors = transformers_folder(tmp_path / "hf", tie_word_embeddings=False)
    head = tensors["lm_head.weight"] = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))
    save_file(tensors, tmp_path / "hf" / "model.safetensors")
    kept = load_file(KEPT / "kept.safetensors")
    model = loaded(tmp_path / "hf")
    with torch.no_grad():
        close(model(kept["tokens"]).logits, kept["hidden"] @ head.T)
    model(kept["tokens"]).logits.sum().backward()
    assert model.backbone.head.weight.grad.abs().max() > 0
    del tensors["lm_head.weight"]
    save_file(tensors, tmp_path / "hf" / "model.safetensors")
    with pytest.raises(UserError, match=r"lm_head.weight is missing"):
        load(tmp_path / "hf")


@pytest.mark.parametrize("tied", [True, False])
def test_exported_folder_has_published_names_and_comes_back(tmp_path: Path, tied: bool) -> None:
    model, tokens = drawn(tied=tied), torch.randint(0, 4, (2, 30))
    write_foreign(model.config, model.state_dict(), tmp_path / "out", "hyenadna", "# card\n")
    again = loaded(tmp_path / "out")
    assert again.config == model.config
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    theirs = set(transformers_folder(tmp_path / "hf")) - ({"lm_head.weight"} if tied else set())
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == theirs
    with pytest.raises(UserError, match="the family hyena is written as hyenadna \\(got 'hf'\\)"):
        write_foreign(model.config, model.state_dict(), tmp_path / "other", "hf", "")


def state_with(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def change_file(folder: Path) -> None:
        state = torch.load(folder / "weights.ckpt", weights_only=True)["state_dict"]
        change(state)
        torch.save({"state_dict": state}, folder / "weights.ckpt")

    return change_file


def layer_with(**values: Any) -> Callable[[Path], None]:
    def change_file(folder: Path) -> None:
        document = json.loads((folder / "config.json").read_text())
        document["layer"] |= values
        (folder / "config.json").write_text(json.dumps(document))

    return change_file


def with_objects(folder: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": Path("x")}, folder / "weights.ckpt")


SINES = "model.backbone.layers.0.mixer.filter_fn.implicit_filter"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (state_with(lambda s: s.pop(f"{SINES}.2.weight")), r"implicit_filter.2.weight is missing"),
        (state_with(lambda s: s.update({f"{SINES}.3.freq": torch.ones(1, 6)})), "3.freq differs from"),
        (
            state_with(lambda s: s.update({"decoder.0.weight": torch.ones(2)})),
            "decoder.0.weight is left over",
        ),
        (layer_with(order=3), "order: only 2 is supported"),
        (layer_with(bidirectional=True), "bidirectional: only False"),
        (layer_with(l_max=50), r"pos_emb.t is not what config.json says"),
        (layer_with(l_max="50"), "l_max: expected a number"),
        (with_objects, "holds more than tensors"),
    ],
)
def test_folder_that_does_not_fit_is_refused(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "hyena"
    shutil.copytree(KEPT, folder)
    change(folder)
    with pytest.raises(UserError, match=said) as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 2000


def test_wrapped_and_bare_names_are_read(tmp_path: Path) -> None:
    """Blocks that were recomputed in training have `layer.` in their names; a bare state dict no `model.`."""
    shutil.copytree(KEPT, tmp_path / "w")
    state = torch.load(KEPT / "weights.ckpt", weights_only=True)["state_dict"]
    renamed = {
        name.removeprefix("model.").replace(".mixer.", ".mixer.layer.").replace(".mlp.", ".mlp.layer."): value
        for name, value in state.items()
    }
    (tmp_path / "w" / "weights.ckpt").unlink()
    torch.save(renamed, tmp_path / "w" / "pytorch_model.bin")
    kept = load_file(KEPT / "kept.safetensors")
    with torch.no_grad():
        close(loaded(tmp_path / "w")(kept["tokens"]).logits, kept["logits"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_length": 0}, "model.max_length: must be a whole number"),
        ({"max_length": "chromosome"}, "model.max_length: must be a whole number"),
        ({"position_channels": 4}, "model.position_channels: must be odd"),
        ({"vocab_size": 300}, "model.vocab_size: must be at most 256"),
        ({"frequency": 0.0}, "model.frequency: must be positive"),
        ({"shift": -0.1}, "model.shift: must be finite"),
    ],
)
def test_a_number_out_of_range_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        HyenaConfig(**{**SHAPE, **changes})


def test_a_longer_sequence_than_the_filter_is_refused() -> None:
    with pytest.raises(UserError, match="the family hyena reads at most 40 bases \\(got 41\\)"):
        drawn()(torch.zeros(1, 41, dtype=torch.uint8))
