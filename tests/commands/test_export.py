"""`dnamamba export`: a finished run as another package's folder, with what its run knows on the card."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import DictConfig
from transformers import MambaForCausalLM

from dnamamba import UserError, load
from dnamamba.commands.pretrain import pretrain
from dnamamba.config import composed
from dnamamba.export import run
from dnamamba.models import LanguageModel


@pytest.fixture
def finished(tiny: Callable[..., DictConfig], tmp_path: Path) -> Path:
    pretrain(tiny("train.max_steps=1", "train.validate_every=1"), tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_exported_with_its_logits_and_results(finished: Path, genome: Path, tmp_path: Path) -> None:
    logging.getLogger("transformers").setLevel(logging.CRITICAL)
    out = tmp_path / "out"
    run(composed("export", [f"model={finished}", "format=hf", f"out={out}", "licence=apache-2.0"]))
    tokens = torch.randint(0, 4, (1, 30))
    model = load(finished)
    assert isinstance(model, LanguageModel)
    with torch.no_grad():
        theirs = MambaForCausalLM.from_pretrained(out)(tokens).logits
        torch.testing.assert_close(model(tokens).logits, theirs, rtol=1e-5, atol=1e-5)
    _, head, card = (out / "README.md").read_text().split("---\n")
    assert yaml.safe_load(head) == {"license": "apache-2.0", "tags": ["DNA", "genomics"]}
    bits = yaml.safe_load((finished / "results.json").read_text())["bits_per_base"]
    assert f"- Data: {genome}\n" in card
    assert "- Context: 32 bases\n" in card
    assert f"- Bits per base: valid {bits['valid']:.4f}, test {bits['test']:.4f}\n" in card


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("format=gguf", "format: the family mamba is written as state_spaces or hf \\(got 'gguf'\\)"),
        ("out={here}", "is there already"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    finished: Path, tmp_path: Path, override: str, said: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    overrides = [f"model={finished}", "format=hf", f"out={tmp_path / 'new'}", override.format(here=finished)]
    with pytest.raises(UserError, match=said):
        run(composed("export", overrides))
    assert sorted(tmp_path.rglob("*")) == before
