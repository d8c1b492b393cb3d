"""Mamba-1 models of transformers and mamba_ssm whose head is not the embedding."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dnamamba import UserError, load, save_model
from dnamamba.foreign import write_foreign
from dnamamba.models import DecoderConfig, LanguageModel, MambaConfig, SequenceModel
from tests.models.test_foreign_mamba import SHAPE, changed, close, tokens


@pytest.fixture(scope="module")
def untied() -> Any:
    from transformers import MambaConfig, MambaForCausalLM  # takes seconds

    torch.manual_seed(4)
    model = MambaForCausalLM(MambaConfig(**SHAPE, tie_word_embeddings=False)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    assert model.lm_head.weight is not model.backbone.embeddings.weight
    return model


def test_untied_head_equals_transformers(untied: Any, tmp_path: Path) -> None:
    untied.save_pretrained(tmp_path / "hf")
    model = load(tmp_path / "hf")
    assert isinstance(model, LanguageModel)
    assert model.mapped["lm_head.weight"] == "backbone.head.weight"
    with torch.no_grad():
        close(model(tokens()).logits, untied(tokens()).logits)
    made = untied.generate(tokens(9)[:1], max_new_tokens=20, do_sample=False)[0, 9:]
    hidden, state = model.backbone(tokens(9)[:1])
    recurrence = model.backbone.recurrence(1, torch.float32)
    recurrence.load(state, slice(0, 1))
    logits = recurrence.head(hidden[:, -1])
    for token in made:
        assert logits.argmax() == token
        logits = recurrence.step(token[None])


@pytest.mark.parametrize("format_", ["hf", "state_spaces"])
def test_untied_model_is_written_and_comes_back(tmp_path: Path, format_: str) -> None:
    torch.manual_seed(3)
    model = LanguageModel(MambaConfig(d_model=16, n_layer=2, d_state=4, tied=False)).eval()
    write_foreign(model.config, model.state_dict(), tmp_path / "out", format_, "")
    again, ids = load(tmp_path / "out"), tokens() % 8
    assert again.config == model.config
    assert torch.equal(again(ids).logits, model(ids).logits)
    if format_ == "hf":
        from transformers import MambaForCausalLM

        with torch.no_grad():
            close(MambaForCausalLM.from_pretrained(tmp_path / "out")(ids).logits, model(ids).logits)
    save_model(model, tmp_path / "ours")
    assert load(tmp_path / "ours").config == model.config


def test_untied_head_without_tensor_is_refused(untied: Any, tmp_path: Path) -> None:
    untied.save_pretrained(tmp_path / "hf")
    changed("model.safetensors", lambda tensors: tensors.pop("lm_head.weight"))(tmp_path / "hf")
    with pytest.raises(UserError, match=r"lm_head.weight is missing"):
        load(tmp_path / "hf")


def test_untied_head_is_not_trained_where_nothing_reads_it(untied: Any, tmp_path: Path) -> None:
    untied.save_pretrained(tmp_path / "hf")
    pretrained = load(tmp_path / "hf")
    model = SequenceModel(pretrained.config, DecoderConfig("classification", ("a", "b")))
    model.backbone.load_state_dict(pretrained.backbone.state_dict())
    model(tokens()).sum().backward()
    without = {name for name, each in model.named_parameters() if each.requires_grad and each.grad is None}
    assert without == set()
    assert not model.backbone.head.weight.requires_grad
