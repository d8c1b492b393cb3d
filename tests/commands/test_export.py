"""`dnamamba export`: a finished run as another package's folder, with what its run knows on the card."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
import yaml
from omegaconf import DictConfig

from dnamamba import MambaConfig, UserError, __version__, load, save_model
from dnamamba.commands.export import model_card
from dnamamba.commands.pretrain import pretrain
from dnamamba.config import composed
from dnamamba.export import run
from dnamamba.models import LanguageModel


@pytest.fixture
def finished(tiny: Callable[..., DictConfig], tmp_path: Path) -> Path:
    pretrain(tiny("train.max_steps=1", "train.validate_every=1"), tmp_path / "run")
    return tmp_path / "run"


def test_run_is_exported_with_its_logits_and_results(finished: Path, genome: Path, tmp_path: Path) -> None:
    from transformers import MambaForCausalLM  # takes seconds

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
    assert f"- Trained with: dnamamba {__version__}, python " in card
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


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
@pytest.mark.parametrize("layout", ["hf", "state_spaces"])
def test_all_files_have_the_mode_of_the_umask(
    saved: Path, tmp_path: Path, umask: int, mode: int, layout: str
) -> None:
    before = os.umask(umask)
    try:
        run(composed("export", [f"model={saved}", f"format={layout}", f"out={tmp_path / 'o'}"]))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "o").iterdir()}
    assert len(modes) == 4
    assert set(modes.values()) == {mode}


def test_a_card_has_nothing_that_is_obeyed(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "<b>\x1b[1m"
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps({"data": {"fasta": "x\n---\n# <script>"}}))
    card = model_card(load(saved), folder, "a\n---\nb: c")  # type: ignore[arg-type]
    head, _, rest = card.removeprefix("---\n").partition("\n---\n")
    assert yaml.safe_load(head) == {"license": "a\n---\nb: c", "tags": ["DNA", "genomics"]}
    assert rest.splitlines()[0] == r"# &lt;b&gt;\x1b[1m"
    assert r"- Data: x\n---\n# &lt;script&gt;" in rest.splitlines()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.yaml", "data: 3\n", r"config\.yaml: not as dnamamba writes it"),
        ("config.yaml", "a: &a [*a]\n", r"config\.yaml: \*a holds itself"),
        ("results.json", '{"a": {"x": null}}', r"results\.json: not as dnamamba writes it"),
        ("results.json", "[]", r"results\.json: expected a JSON object"),
    ],
)
def test_damaged_notes_of_a_run_are_named(
    saved: Path, tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        model_card(load(saved), tmp_path, None)  # type: ignore[arg-type]
