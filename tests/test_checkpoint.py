"""Models on disk: what comes back, what is refused, what is never left half-written."""

import json
import os
from pathlib import Path

import pytest
import torch

from dnamamba import LanguageModel, MambaConfig, SequenceModel, UserError, load, save_model
from dnamamba import checkpoint as checkpoint_module
from dnamamba.checkpoint import FORMAT, POSITION_FORMAT, SEQUENCE_FORMAT, model_hash
from dnamamba.models import DecoderConfig, PositionConfig, PositionModel


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(3)
    return LanguageModel(MambaConfig(16, 2, d_state=4))


def same_weights(ours: LanguageModel, theirs: LanguageModel) -> bool:
    ours_by_name, theirs_by_name = ours.state_dict(), theirs.state_dict()
    return list(ours_by_name) == list(theirs_by_name) and all(
        torch.equal(tensor, theirs_by_name[name]) for name, tensor in ours_by_name.items()
    )


def write_checkpoint(model: LanguageModel, path: Path) -> None:
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": weights, "dnamamba": {"model": model.config.to_dict()}}, path)


def test_a_folder_comes_back_bit_for_bit(model: LanguageModel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    assert sorted(os.listdir(tmp_path / "model")) == ["config.json", "model.safetensors"]
    for path in (tmp_path / "model", tmp_path):  # the folder itself, or the run's folder around it
        loaded = load(path)
        assert loaded.config == model.config
        assert same_weights(loaded, model)
        assert not loaded.training
        assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_the_hash_is_of_weights_and_configuration(model: LanguageModel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    write_checkpoint(model, tmp_path / "last.ckpt")
    assert (
        model_hash(load(tmp_path / "model")) == model_hash(load(tmp_path / "last.ckpt")) == model_hash(model)
    )
    before = model_hash(model)
    with torch.no_grad():
        model.backbone.layers[0].mixer.D[3] += 1e-6
    assert model_hash(model) != before
    other = LanguageModel(MambaConfig(16, 2, d_state=4, norm_eps=1e-6))
    other.load_state_dict(load(tmp_path / "model").state_dict())
    assert model_hash(other) != before


def test_initialisation_survives_loading(model: LanguageModel, tmp_path: Path) -> None:
    """Frameworks have drawn A_log and dt's bias anew while loading."""
    with torch.no_grad():
        model.backbone.layers[0].mixer.A_log.fill_(0.25)
        model.backbone.layers[1].mixer.dt_proj.bias.fill_(-3.5)
    save_model(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (loaded.backbone.layers[0].mixer.A_log == 0.25).all()
    assert (loaded.backbone.layers[1].mixer.dt_proj.bias == -3.5).all()


def test_a_run_checkpoint_loads(model: LanguageModel, tmp_path: Path) -> None:
    write_checkpoint(model, tmp_path / "last.ckpt")
    assert same_weights(load(tmp_path / "last.ckpt"), model)


def test_saving_again_overwrites_only_where_asked(model: LanguageModel, tmp_path: Path) -> None:
    first = LanguageModel(MambaConfig(8, 1))
    save_model(first, tmp_path / "model")
    with pytest.raises(UserError, match=r"model: there is a model already; .* overwrite=True\)$"):
        save_model(model, tmp_path / "model")
    assert same_weights(load(tmp_path / "model"), first)
    save_model(model, tmp_path / "model", overwrite=True)
    assert same_weights(load(tmp_path / "model"), model)
    assert os.listdir(tmp_path) == ["model"]


def test_a_full_disk_leaves_the_old_folder(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(model, tmp_path / "model")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(UserError, match=r"can't write the model folder .*: No space left on device"):
        save_model(LanguageModel(MambaConfig(8, 1)), tmp_path / "model", overwrite=True)
    assert same_weights(load(tmp_path / "model"), model)
    assert os.listdir(tmp_path) == ["model"]


def test_failed_rename_restores_the_old_folder(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(model, tmp_path / "model")
    rename = os.replace

    def refuse_the_new(source: Path, target: Path) -> None:
        if (source / "config.json").exists() and target.name == "model" and "old" not in source.name:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_new)
    with pytest.raises(UserError, match=r"can't write the model folder .*: Input/output error"):
        save_model(LanguageModel(MambaConfig(8, 1)), tmp_path / "model", overwrite=True)
    assert same_weights(load(tmp_path / "model"), model)
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_of_other_things_is_never_replaced(model: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="is there and holds other things than a model"):
        save_model(model, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    assert os.listdir(tmp_path) == ["thesis.txt"]


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def foreign_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"format": "other", "format_version": 1, "model": {}}')


def drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def truncate_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])


def widen(folder: Path) -> None:
    document = json.loads((folder / "config.json").read_text())
    document["model"]["d_model"] = 32
    (folder / "config.json").write_text(json.dumps(document))


def deepen(folder: Path) -> None:
    document = json.loads((folder / "config.json").read_text())
    document["model"]["n_layer"] = 3
    (folder / "config.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_config, "config.json is damaged: JSONDecodeError"),
        (
            foreign_config,
            "config.json: must be of format 'dnamamba-language-model', version 1 (got 'other', 1)",
        ),
        (drop_weights, "model.safetensors is missing or damaged"),
        (truncate_weights, "model.safetensors is missing or damaged"),
        (widen, "backbone.embedding.weight is [8, 16], not [8, 32]"),
        (deepen, "backbone.layers.2.mixer.A_log is missing"),
    ],
)
def test_a_damaged_folder_is_explained(model: LanguageModel, tmp_path: Path, damage, message: str) -> None:
    save_model(model, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(UserError) as error:
        load(tmp_path / "model")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no model at .*: neither a checkpoint nor a folder with config.json"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"last.ckpt is not a checkpoint of dnamamba$"),
        (b">chr1\nACGT\n", r"last.ckpt is not a checkpoint of dnamamba$"),
        (b"PK\x03\x04 half a zip", r"last.ckpt is damaged or no checkpoint of dnamamba \("),
    ],
)
def test_a_damaged_checkpoint_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "last.ckpt")
    assert "\n" not in str(error.value)


def test_a_model_in_the_home_folder(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(model, tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_hash(load("~/mine")) == model_hash(model)
    with pytest.raises(UserError, match="no model at ~nobody-has-this-name/mine"):
        load("~nobody-has-this-name/mine")


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state_dict": Payload(), "dnamamba": {}}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"damaged or no checkpoint .*plain values, which are never read\)"):
        load(tmp_path / "last.ckpt")
    assert not (tmp_path / "owned").exists()


def test_a_foreign_checkpoint_is_explained(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint of dnamamba"):
        load(tmp_path / "last.ckpt")


def test_a_sequence_model_comes_back_with_its_question(tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = SequenceModel(
        MambaConfig(16, 1), DecoderConfig("multilabel", ("promoter", "enhancer"), "mean")
    ).eval()
    save_model(model, tmp_path / "model")
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    contents = {"model": model.config.to_dict(), "decoder": model.decoder.to_dict()}
    torch.save({"state_dict": weights, "dnamamba": contents}, tmp_path / "last.ckpt")
    tokens = torch.randint(0, 4, (3, 20), dtype=torch.uint8)
    for path in (tmp_path / "model", tmp_path / "last.ckpt"):
        loaded = load(path)
        assert isinstance(loaded, SequenceModel)
        assert loaded.decoder == model.decoder
        assert torch.equal(loaded(tokens), model(tokens))


def test_sequence_model_with_broken_question_is_refused(tmp_path: Path) -> None:
    model = SequenceModel(MambaConfig(8, 1), DecoderConfig("classification", ("a", "b")))
    save_model(model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    document = json.loads(path.read_text())
    for change, message in (
        (
            {"decoder": {**document["decoder"], "mode": "first"}},
            "decoder.mode: must be one of last, mean, next",
        ),
        ({"decoder": {"kind": "classification"}}, "decoder setting labels is missing"),
        (
            {"decoder": {**document["decoder"], "labels": "ab"}},
            "decoder.labels: must be tuple[str, ...] (got 'ab')",
        ),
        ({"decoder": None}, "is damaged: the model answers a question, and `decoder` is missing"),
    ):
        path.write_text(json.dumps({**document, **change}))
        with pytest.raises(UserError) as error:
            load(tmp_path / "model")
        assert str(path) in str(error.value)
        assert message in str(error.value)


SMALL = MambaConfig(8, 1)
ASKED = {
    "number": SequenceModel(SMALL, DecoderConfig("regression", ("y",), "mean", 1.0, 2.0)),
    "classes": SequenceModel(SMALL, DecoderConfig("classification", ("a", "b"), "mean")),
    "bases": PositionModel(SMALL, PositionConfig("base_classes", ("none", "cds+", "cds-"), (0, 2, 1), 16)),
}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "number",
            {"labels": ["y", "z"]},
            "decoder.labels: must be at most 1 for decoder.kind=regression (got y, z)",
        ),
        ("classes", {"kind": "regression"}, "decoder.labels: must be at most 1 for decoder.kind=regression"),
        (
            "number",
            {"kind": "classification"},
            "decoder.labels: must be at least 2 and all different (got y)",
        ),
        (
            "classes",
            {"labels": ["a", "a"]},
            "decoder.labels: must be at least 2 and all different (got a, a)",
        ),
        (
            "classes",
            {"labels": ["a", "b", "c"]},
            "decoder.labels: 3 labels need 3 outputs, and the weights have 2 (got a, b, c)",
        ),
        (
            "classes",
            {"scale": 2.0},
            "decoder.scale: is of numbers, and decoder.kind=classification has 1 (got 2)",
        ),
        (
            "classes",
            {"shift": -0.5},
            "decoder.shift: is of numbers, and decoder.kind=classification has 0 (got -0.5)",
        ),
        (
            "classes",
            {"tasks": [{"name": "x"}]},
            "decoder.tasks: are of several targets, and decoder.kind=classification",
        ),
        ("classes", {"length": 30}, "decoder.length: is of decoder.mode=positions (got mode=mean)"),
        (
            "bases",
            {"labels": ["none", "cds+", "cds-", "x"], "complement": [0, 2, 1, 3]},
            "decoder.labels: 4 labels need 4 outputs, and the weights have 3",
        ),
        ("bases", {"labels": ["none", "cds", "cds"]}, "decoder.labels: must be all different"),
        ("bases", {"complement": [1, 2, 0]}, "decoder.complement: must name each label's partner"),
        (
            "bases",
            {"means": [1.0, 1.0, 1.0]},
            "decoder.means, decoder.scaling: are of a signal, and classes have none",
        ),
    ],
)
def test_fields_of_a_question_that_do_not_agree_are_named(
    name: str, changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    save_model(ASKED[name], tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    document = json.loads(path.read_text())
    del document["sha256"]
    document["decoder"] |= changes
    path.write_text(json.dumps(document))
    with pytest.raises(UserError) as error:
        load(tmp_path / "model")
    assert str(tmp_path / "model") in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ASKED)
def test_a_format_unlike_the_question_is_named(name: str, tmp_path: Path) -> None:
    save_model(ASKED[name], tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    written = json.loads(path.read_text())
    for other in {FORMAT, SEQUENCE_FORMAT, POSITION_FORMAT} - {written["format"]}:
        path.write_text(json.dumps(written | {"format": other}))
        with pytest.raises(
            UserError, match=rf"config\.json: format: must be {written['format']}, .* {other}"
        ):
            load(tmp_path / "model")


def test_a_key_twice_in_a_models_configuration_is_named(tmp_path: Path) -> None:
    save_model(ASKED["number"], tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace('"shift": 1.0', '"shift": 1.0, "shift": 5.0'))
    with pytest.raises(UserError, match=r"config\.json is damaged: .*the key 'shift' is there twice"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("norm_eps", "1e-5", "model.norm_eps: must be float (got '1e-5')"),
        ("dt_max", None, "model.dt_max: must be float (got None)"),
        ("d_model", True, "model.d_model: must be int (got True)"),
        ("d_state", 2**64, "model.d_state: must be at most 1,048,576 (got 18446744073709551616)"),
        ("n_layer", 10**5, "model.n_layer: must be at most 4,096 (got 100000)"),
    ],
)
def test_a_value_of_another_type_names_its_key(
    model: LanguageModel, tmp_path: Path, name: str, value: object, message: str
) -> None:
    save_model(model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    document = json.loads(path.read_text())
    document["model"][name] = value
    path.write_text(json.dumps(document))
    with pytest.raises(UserError) as error:
        load(tmp_path / "model")
    assert str(error.value) == f"{path}: {message}"


def test_the_two_files_have_one_mode(model: LanguageModel, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_model(model, tmp_path / "model")
    finally:
        os.umask(before)
    modes = [
        (tmp_path / "model" / name).stat().st_mode & 0o777 for name in ("config.json", "model.safetensors")
    ]
    assert modes == [0o640, 0o640]
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750
