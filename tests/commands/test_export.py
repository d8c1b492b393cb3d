"""`dnamamba export`: a finished run as another package's folder, with what its run knows on the card."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
import yaml
from omegaconf import DictConfig
from transformers import MambaForCausalLM

from dnamamba import MambaConfig, UserError, load, save_model
from dnamamba.commands.pretrain import pretrain
from dnamamba.config import composed
from dnamamba.export import run
from dnamamba.models import LanguageModel


@pytest.fixture
def finished(tiny: Callable[..., DictConfig], tmp_path: Path) -> Path:
    pretrain(tiny("train.max_steps=1", "train.validate_every=1"), tmp_path / "run")
    return tmp_path / "run"


def test_run_is_exported_with_its_logits_and_results(finished: Path, genome: Path, tmp_path: Path) -> None:
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


class FakeHub:
    """What huggingface_hub's HfApi is asked for."""

    calls: ClassVar[list[tuple[str, Any]]] = []
    refusal: ClassVar[str | None] = None

    def create_repo(self, name: str, **options: Any) -> None:
        self.calls.append((name, options))

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> Any:
        if self.refusal:
            raise OSError(self.refusal)
        self.calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))
        return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[FakeHub]:
    monkeypatch.setattr(FakeHub, "calls", [])
    monkeypatch.setattr(FakeHub, "refusal", None)
    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    return FakeHub


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(LanguageModel(MambaConfig(d_model=8, n_layer=1)), tmp_path / "m")
    return tmp_path / "m"


def test_push_uploads_the_folder_to_private_repository(
    saved: Path, tmp_path: Path, hub: type[FakeHub], capsys: pytest.CaptureFixture[str]
) -> None:
    run(composed("export", [f"model={saved}", "format=hf", f"out={tmp_path / 'o'}", "push=someone/tiny"]))
    files = ["README.md", "config.json", "dnamamba.json", "model.safetensors"]
    options = {"repo_type": "model", "private": True, "exist_ok": True}
    assert hub.calls == [("someone/tiny", options), ("someone/tiny", files)]
    assert "pushed: hub/someone/tiny/commit/1" in capsys.readouterr().out


def test_refused_push_says_where_the_folder_is(
    saved: Path, tmp_path: Path, hub: type[FakeHub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "refusal", "401\nnot logged in")
    out = tmp_path / "o"
    with pytest.raises(
        UserError, match=r"^push: someone/tiny can't be written \(401 not logged in\)"
    ) as said:
        run(composed("export", [f"model={saved}", "format=hf", f"out={out}", "push=someone/tiny"]))
    assert f"the model is in {out}" in str(said.value)
    assert load(out).config == load(saved).config


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "someone/tiny@main", "https://somewhere/tiny"])
def test_a_name_that_cannot_be_pushed_writes_nothing(
    saved: Path, tmp_path: Path, hub: type[FakeHub], name: str
) -> None:
    with pytest.raises(UserError, match=r"^push: expected owner/name of the Hugging Face Hub"):
        run(composed("export", [f"model={saved}", "format=hf", f"out={tmp_path / 'o'}", f"push={name}"]))
    assert not (tmp_path / "o").exists()
    assert hub.calls == []


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
