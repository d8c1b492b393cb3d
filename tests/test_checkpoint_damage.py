"""Damaged and foreign model files are refused in one line."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dnamamba import LanguageModel, MambaConfig, UserError, building, load, save_model
from dnamamba.checkpoint import model_hash
from dnamamba.foreign import write_foreign
from tests.test_checkpoint import write_checkpoint

CADUCEUS = Path(__file__).parent / "models" / "caduceus" / "ps"


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(3)
    return LanguageModel(MambaConfig(16, 2, d_state=4))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_refused_in_every_file(model: LanguageModel, tmp_path: Path) -> None:
    """A bit of a weight that stays finite, and a digit that stays a number."""
    save_model(model, tmp_path / "model")
    write_checkpoint(model, tmp_path / "last.ckpt")
    weight = model.backbone.embedding.weight.detach().numpy().tobytes()
    config, tensors = (tmp_path / "model" / name for name in ("config.json", "model.safetensors"))
    before = config.read_bytes()
    flip(config, before.index(b"1e-05") + 4)
    with pytest.raises(UserError, match=r"are not as they were written .*remove `sha256` from config.json"):
        load(tmp_path / "model")
    config.write_bytes(before)
    flip(tensors, tensors.read_bytes().index(weight))
    with pytest.raises(UserError, match="are not as they were written"):
        load(tmp_path / "model")
    checkpoint = tmp_path / "last.ckpt"
    flip(checkpoint, checkpoint.read_bytes().index(weight))
    with pytest.raises(UserError, match=r"last.ckpt is damaged: the checksum of last/data/\d+ is wrong"):
        load(checkpoint)


def test_a_folder_without_a_checksum_loads(model: LanguageModel, tmp_path: Path) -> None:
    """As version 0.1 wrote them, and as people who change config.json leave them."""
    save_model(model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    document = json.loads(path.read_text())
    del document["sha256"]
    path.write_text(json.dumps(document))
    assert model_hash(load(tmp_path / "model")) == model_hash(model)


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64])
def test_weights_that_are_not_floats_are_refused(
    model: LanguageModel, tmp_path: Path, dtype: torch.dtype
) -> None:
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    weights["model.backbone.norm_f.weight"] = weights["model.backbone.norm_f.weight"].to(dtype)
    torch.save({"state_dict": weights, "dnamamba": {"model": model.config.to_dict()}}, tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=rf"norm_f.weight must be .* floating-point numbers \(got {dtype}\)"):
        load(tmp_path / "c.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dnamamba": 7}, "is not a checkpoint of dnamamba"),
        ({"state_dict": [1]}, "is not a checkpoint of dnamamba"),
        ({"dnamamba": {"model": 2}}, r"model: must be a group of settings \(got int\)"),
        ({"dnamamba": {}}, r"model: must be a group of settings \(got NoneType\)"),
        ({"dnamamba": {"model": {3: 4}}}, r"model: must be a group of settings \(got dict\)"),
        ({"state_dict": {"model.backbone.norm_f.weight": 3, 5: 1}}, r"norm_f.weight must be .*\(got int\)"),
    ],
)
def test_foreign_values_in_a_checkpoint_are_explained(
    model: LanguageModel, tmp_path: Path, change: dict, message: str
) -> None:
    good = {"state_dict": {}, "dnamamba": {"model": model.config.to_dict()}}
    torch.save({**good, **change}, tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "c.ckpt")
    assert str(error.value).startswith(str(tmp_path / "c.ckpt"))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize(
    ("layout", "tensor"),
    [
        ("hf", "backbone.layers.0.mixer.A_log"),
        ("hf", "backbone.embeddings.weight"),
        ("state_spaces", "lm_head.weight"),
        ("state_spaces", "backbone.layers.1.mixer.dt_proj.bias"),
    ],
)
def test_foreign_weights_that_are_not_finite_are_named_as_there(
    model: LanguageModel, tmp_path: Path, layout: str, tensor: str, value: float
) -> None:
    write_foreign(model.config, model.state_dict(), tmp_path / "f", layout, "")
    (path,) = (file for file in (tmp_path / "f").iterdir() if file.suffix in (".safetensors", ".bin"))
    safe = path.suffix == ".safetensors"
    weights = load_file(path) if safe else torch.load(path, weights_only=True)
    weights = {name: each.clone() for name, each in weights.items()}
    weights[tensor].view(-1)[-1] = value
    save_file(weights, path, metadata={"format": "pt"}) if safe else torch.save(weights, path)
    with pytest.raises(UserError, match=rf"{path.name}: {tensor} is not finite .*; use another copy$"):
        load(tmp_path / "f")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2e36, r"holds 2e\+36, and no trained weight is above 1e\+09: the training diverged"),
        (-2e9, r"holds 2e\+09, and no trained"),
        (float("-inf"), "is not finite"),
        (9e8, None),
    ],
)
def test_own_weights_beyond_sense_are_refused(
    model: LanguageModel, tmp_path: Path, value: float, said: str | None
) -> None:
    """Their squares are infinite, and a norm divides by these: an answer would be a model of zeros's."""
    with torch.no_grad():
        model.backbone.embedding.weight[1, 0] = value
    save_model(model, tmp_path / "m")
    with nullcontext() if said is None else pytest.raises(UserError, match=f"embedding.weight {said}"):
        load(tmp_path / "m")


def test_caduceus_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    shutil.copytree(CADUCEUS, tmp_path / "c")
    path = tmp_path / "c" / "model.safetensors"
    weights = load_file(path)
    name = next(each for each in weights if each.endswith("mamba_rev.D"))
    weights[name][0] = float("inf")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"model.safetensors: {name} is not finite"):
        load(tmp_path / "c")


def test_few_numbers_repeated_as_many_are_refused(model: LanguageModel, tmp_path: Path) -> None:
    """A view of one number may have any shape: to check it for NaN would take that much memory."""
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    name = "model.backbone.embedding.weight"
    weights[name] = torch.zeros(1).expand(weights[name].shape)
    torch.save({"state_dict": weights, "dnamamba": {"model": model.config.to_dict()}}, tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=r"embedding.weight has fewer numbers than its shape \[8, 16\] takes"):
        load(tmp_path / "c.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 4096}, r"weights do not go with the configuration: 4,096 blocks of \d+ tensors"),
        ({"alphabet": "octets"}, "vocabulary has 8 ids, and its alphabet octets has 256"),
    ],
)
def test_what_no_weights_go_with_is_refused_unbuilt(
    model: LanguageModel, tmp_path: Path, change: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    document = json.loads(path.read_text())
    document["model"] |= change
    path.write_text(json.dumps(document))
    monkeypatch.setattr(building, "_empty", None)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": [1], "b": "x"}}',
            r"names of files next to it",
        ),
        ("model.safetensors.index.json", '{"weight_map": "ab"}', r"expected a map weight_map \(got str\)"),
        ("model.safetensors.index.json", "[" * 100_000, r"index\.json: damaged \(maximum recursion depth"),
        (
            "model.safetensors.index.json",
            r'{"weight_map": {"a": "b\u0000c"}}',
            r"next to it \(got 'b\\x00c'\)",
        ),
        ("model.safetensors.index.json", r'{"weight_map": {"a": "\ud800"}}', r"next to it \(got '\\ud800'\)"),
        ("model.safetensors.index.json", '{"weight_map": {"a": ".."}}', r"next to it \(got '\.\.'\)"),
        ("dnamamba.json", "[1]", r"dnamamba\.json: expected a JSON object \(got list\)"),
    ],
)
def test_damaged_notes_of_a_foreign_folder_are_named(
    model: LanguageModel, tmp_path: Path, name: str, text: str, message: str
) -> None:
    folder = tmp_path / "theirs"
    write_foreign(model.config, model.state_dict(), folder, "hf", "")
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load(folder)


def in_parts(model: LanguageModel, folder: Path) -> tuple[Path, Path]:
    """Write a model of transformers in two files with an index; return the two."""
    write_foreign(model.config, model.state_dict(), folder, "hf", "")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = folder / "model-1-of-2.safetensors", folder / "model-2-of-2.safetensors"
    names = sorted(tensors)
    where = {}
    for number, file in enumerate(files):
        save_file({name: tensors[name] for name in names[number::2]}, file)
        where |= dict.fromkeys(names[number::2], file.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return files


def test_a_tensor_in_two_parts_must_be_the_same(model: LanguageModel, tmp_path: Path) -> None:
    one, two = in_parts(model, tmp_path / "theirs")
    name, tensor = next(iter(load_file(one).items()))
    save_file({**load_file(two), name: tensor}, two)
    assert model_hash(load(tmp_path / "theirs")) == model_hash(model)
    save_file({**load_file(two), name: tensor + 1}, two)
    with pytest.raises(UserError, match=rf"{name} is in {one.name} and in {two.name}, with other values"):
        load(tmp_path / "theirs")


def test_parts_under_each_others_names_are_refused(model: LanguageModel, tmp_path: Path) -> None:
    one, two = in_parts(model, tmp_path / "theirs")
    first = min(load_file(one))
    one.rename(tmp_path / "kept")
    two.rename(one)
    (tmp_path / "kept").rename(two)
    with pytest.raises(UserError, match=rf"index\.json: {first} is in {two.name}, not in {one.name}"):
        load(tmp_path / "theirs")


@pytest.mark.parametrize("value", ["x", 3, [["layer", "Mamba1"]]])
def test_other_than_a_map_in_ssm_cfg_is_named(model: LanguageModel, tmp_path: Path, value: object) -> None:
    folder = tmp_path / "theirs"
    write_foreign(model.config, model.state_dict(), folder, "state_spaces", "")
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**document, "ssm_cfg": value}))
    with pytest.raises(UserError, match=r"config\.json: ssm_cfg: expected a map"):
        load(folder)


def test_complex_constants_are_refused_without_a_warning(tmp_path: Path) -> None:
    shutil.copytree(CADUCEUS, tmp_path / "theirs")
    path = tmp_path / "theirs" / "model.safetensors"
    tensors = load_file(path)
    wrong = [name for name in tensors if name.endswith("complement_map")]
    assert wrong
    save_file(tensors | {name: tensors[name].to(torch.complex64) for name in wrong}, path)
    with pytest.raises(UserError, match=r"complement_map is not \["):
        load(tmp_path / "theirs")
