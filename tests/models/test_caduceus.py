"""Caduceus: equal to its published code, alike for both strands, and trainable by masked bases.

tests/models/caduceus holds what the published code made of random weights; studies/caduceus_reference.py
remakes it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnamamba import UserError, get_alphabet, load, save_model
from dnamamba.foreign import write_foreign
from dnamamba.models import LanguageModel
from dnamamba.models.base import need
from dnamamba.models.caduceus.backbone import _side_by_side
from dnamamba.models.caduceus.config import CaduceusConfig
from tests.families import assert_recomputed_gradients_are_equal

KEPT = Path(__file__).parent / "caduceus"
VARIANTS = sorted(path.name for path in KEPT.iterdir())


def loaded(folder: Path) -> LanguageModel:
    model = load(folder)
    assert isinstance(model, LanguageModel)
    return model


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_hidden_states_equal_the_published_code(variant: str) -> None:
    model, kept = loaded(KEPT / variant), load_file(KEPT / variant / "kept.safetensors")
    assert model.config.alphabet == "characters"
    with torch.no_grad():
        close(model(kept["tokens"]).logits, kept["logits"])
        last: list[Tensor] = []
        model.backbone.blocks()[-1].register_forward_hook(lambda *made: last.append(made[-1]))
        close(model.backbone(kept["tokens"]).hidden, kept["hidden"])
        after = _side_by_side(last[0]) if model.backbone.equivariant else last[0]
        close(after, kept[f"after_{model.config.depth}"])
        for blocks in range(1, model.config.depth):
            close(model.backbone(kept["tokens"], blocks=blocks).hidden, kept[f"after_{blocks}"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_equal_the_published_code(variant: str) -> None:
    model, kept = loaded(KEPT / variant), load_file(KEPT / variant / "kept.safetensors")
    (model(kept["tokens"]).logits * kept["weight"]).sum().backward()
    names = [name.removeprefix("gradient.") for name in kept if name.startswith("gradient.")]
    assert len(names) > 15
    for name in names:
        found, wanted = model.get_parameter(model.mapped[name]).grad, kept[f"gradient.{name}"]
        scale = wanted.abs().max()
        torch.testing.assert_close(found / scale, wanted / scale, rtol=1e-4, atol=1e-5)


def test_the_published_exchange_of_strands_matters() -> None:
    """Where `fused_add_norm` is set, the published blocks take the halves in exchange."""
    kept = load_file(KEPT / "ps" / "kept.safetensors")
    model = loaded(KEPT / "ps")
    assert model.config.exchange  # type: ignore[attr-defined]
    object.__setattr__(model.backbone.config, "exchange", False)
    with torch.no_grad():
        assert (model(kept["tokens"]).logits - kept["logits"]).abs().max() > 0.01


@pytest.mark.parametrize("dropped", [0, 1])
def test_a_shared_tensor_may_stand_under_either_name(tmp_path: Path, dropped: int) -> None:
    """safetensors keeps one name of each tensor that is shared, and not always the same."""
    folder = tmp_path / "ps"
    shutil.copytree(KEPT / "ps", folder)
    tensors = load_file(folder / "model.safetensors")
    aliases = [name for name in tensors if "lm_head.lm_head" in name or "mamba_rev.in_proj" in name]
    others = [name for name in tensors if "word_embeddings.embedding" in name or "mamba_fwd.in_proj" in name]
    assert len(aliases) == len(others) == 4
    for name in (others, aliases)[dropped]:
        del tensors[name]
    save_file(tensors, folder / "model.safetensors")
    kept = load_file(folder / "kept.safetensors")
    with torch.no_grad():
        close(loaded(folder)(kept["tokens"]).logits, kept["logits"])


def broken(folder: Path, what: str) -> None:
    path = folder / "model.safetensors"
    tensors, document = load_file(path), json.loads((folder / "config.json").read_text())
    reverse = "caduceus.backbone.layers.1.mixer.submodule.mamba_rev.in_proj.weight"
    if what == "untied":
        tensors[reverse] = tensors[reverse] + 1
    elif what == "complement":
        tensors["lm_head.complement_map"] = torch.arange(16)
    elif what == "backbone":
        tensors = {name.removeprefix("caduceus."): value for name, value in tensors.items()}
    elif what == "fused":
        document["fused_add_norm"] = False
    elif what == "norm":
        document["rms_norm"] = False
    elif what == "plantcad2":
        document["layer_cfg"] = {
            "mode": "mamba-only",
            "mamba_cfg": {"version": "v2", "ssm_cfg": {"d_state": 64}},
        }
    elif what == "map":
        document["complement_map"] = {str(i): i for i in range(16)}
    save_file(tensors, path)
    (folder / "config.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("untied", "mamba_rev.in_proj.weight differs from"),
        ("complement", "lm_head.complement_map is not"),
        ("backbone", "caduceus.backbone.embeddings.* is missing|is left over"),
        ("fused", "layers.0.norm.submodule.weight is missing"),
        ("norm", "rms_norm: only True"),
        ("map", "complement_map: expected"),
        (
            "plantcad2",
            r"layer_cfg: a PlantCAD2 model, whose blocks are Mamba-2, is not supported \(got {'mode",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path, what: str, said: str) -> None:
    folder = tmp_path / "ps"
    shutil.copytree(KEPT / "ps", folder)
    broken(folder, what)
    with pytest.raises(UserError, match=said) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def drawn(**changes: Any) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(CaduceusConfig(**{"d_model": 16, "n_layer": 3, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


@pytest.mark.parametrize("alphabet", ["dna", "bytes", "characters", "mlm"])
@pytest.mark.parametrize("exchange", [False, True])
def test_ps_is_equivariant_to_the_reverse_complement(exchange: bool, alphabet: str) -> None:
    letters = get_alphabet(alphabet)
    model = drawn(exchange=exchange, alphabet=alphabet, vocab_size=letters.size)
    need(model.backbone, ("equivariant",), "this test")
    ids = letters.encode("ACGTTGCANNACGGGATCATTACGA" * 3)
    tokens, other = (torch.from_numpy(each.copy())[None] for each in (ids, letters.reverse_complement(ids)))
    complement = model.backbone.get_buffer("complement")
    assert complement[tokens.int()].flip(1).tolist() == other.tolist()
    with torch.no_grad():
        for blocks in (0, 1, 2, 3):
            hidden, reverse = (model.backbone(each, blocks=blocks).hidden for each in (tokens, other))
            close(reverse.flip(1, 2), hidden)
            assert hidden.shape[2] == model.config.width == 32
        close(model(other).logits.flip(1)[..., complement], model(tokens).logits)
        assert (model(other).logits.flip(1) - model(tokens).logits).abs().max() > 0.01


def test_ph_is_refused_where_equivariance_is_needed() -> None:
    model = drawn(equivariant=False)
    assert model.config.width == 16
    with pytest.raises(UserError, match="needs a model that is equivariant"):
        need(model.backbone, ("equivariant",), "this")


@pytest.mark.parametrize("equivariant", [True, False])
def test_every_position_reads_every_other(equivariant: bool) -> None:
    model = drawn(equivariant=equivariant, n_layer=1)
    tokens = torch.randint(0, 4, (1, 24))
    for place in (0, 12, 23):
        changed = tokens.clone()
        changed[0, place] = (changed[0, place] + 1) % 4
        with torch.no_grad():
            moved = (model(changed).logits - model(tokens).logits).abs().amax(2)[0]
        assert (moved > 0).all(), f"position {place}"


def test_recomputed_blocks_have_the_same_gradients() -> None:
    assert_recomputed_gradients_are_equal(drawn())


@pytest.mark.parametrize(
    "changes", [{}, {"exchange": True}, {"equivariant": False, "strategy": "ew_multiply"}]
)
def test_saved_or_exported_model_loads_as_it_was(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = drawn(**changes)
    save_model(model, tmp_path / "ours")
    write_foreign(model.config, model.state_dict(), tmp_path / "theirs", "caduceus", "")
    for folder in ("ours", "theirs"):
        again = loaded(tmp_path / folder)
        assert again.config == model.config
        for name, tensor in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_exported_file_has_published_names_and_values(variant: str, tmp_path: Path) -> None:
    """All names of shared tensors too: without one, transformers 4.46 leaves that part without values."""
    model, theirs = loaded(KEPT / variant), load_file(KEPT / variant / "model.safetensors")
    write_foreign(model.config, model.state_dict(), tmp_path / "out", "caduceus", "")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    document = json.loads((tmp_path / "out" / "config.json").read_text())
    published = json.loads((KEPT / variant / "config.json").read_text())
    differing = {key for key, value in document.items() if published.get(key, value) != value}
    # Of Ph neither has a meaning.
    assert differing <= {"ssm_cfg"} | (set() if "ps" in variant else {"fused_add_norm", "complement_map"})


def test_a_foreign_format_of_another_family_is_refused(tmp_path: Path) -> None:
    model = drawn()
    with pytest.raises(UserError, match="the family caduceus is written as caduceus \\(got 'hf'\\)"):
        write_foreign(model.config, model.state_dict(), tmp_path / "out", "hf", "")
    assert not (tmp_path / "out").exists()
