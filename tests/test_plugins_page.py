"""docs/plugins.md: its backbone trains by its command, and what it calls required is missed in one line."""

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dnamamba import LanguageModel, UserError, load
from dnamamba.commands.settings import model_config
from dnamamba.heads.base import Head
from tests.conftest import TINY
from tests.test_extension import command

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text("utf-8")
SMALL = [argument for argument in TINY if argument.startswith(("data.", "train."))]


def block(language: str) -> str:
    """The page's first block of code in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's files, as working directory and on Python's path."""
    (tmp_path / "my_gru.py").write_text(block("python"))
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/gru.yaml").write_text(block("yaml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("my_gru", None)
    yield tmp_path
    sys.modules.pop("my_gru", None)


@pytest.fixture
def mine(home: Path) -> Any:
    """The page's module."""
    return importlib.import_module("my_gru")


def test_the_command_of_the_page_trains_its_backbone(home: Path, genome: Path) -> None:
    path, program, name, *arguments = shlex.split(block("bash"))
    assert (path, program, name) == ("PYTHONPATH=.", "dnamamba", "pretrain")
    small = [one for one in SMALL if "max_steps" not in one]
    own = [f"data.fasta={genome}", "data.valid=[two]", "data.test=[three]", "hydra.run.dir=run"]
    assert command(name, *arguments, *small, *own) == 0
    results = json.loads((home / "run" / "results.json").read_text())
    assert results["steps"] == 2
    assert results["verdict"].startswith("test: the model needs ")
    assert results["bits_per_base"]["test"] < 3.01  # begins at three bits, eight ids being equally likely
    model = load(home / "run")
    assert type(model.backbone).__name__ == "GRU"
    assert model.config.to_dict() == {"d_model": 64, "n_layer": 2, "alphabet": "dna", "vocab_size": 8}


def test_the_backbone_of_the_page_is_causal_and_carries_its_state(mine: Any) -> None:
    torch.manual_seed(0)
    model = LanguageModel(mine.GRUConfig(d_model=8, n_layer=2)).double().eval()
    tokens = torch.randint(0, 4, (3, 20))
    with torch.no_grad():
        whole = model(tokens).logits
        first, state = model(tokens[:, :7])
        second = model(tokens[:, 7:], state).logits
        torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-12, atol=1e-12)
        rows = torch.tensor([2, 0])
        taken = model(tokens[rows, 7:], model.backbone.take(state, rows)).logits
    torch.testing.assert_close(taken, second[rows], rtol=1e-12, atol=1e-12)


RETURNS = {
    "build": "it returns the Backbone",
    "family": "it is the import path of this class",
    "forward": "it returns a BackboneOutput",
    "unembed": "it returns the logits of hidden states",
    "blocks": "it returns the blocks from the embedding upwards",
    "take": "it returns the state of some rows",
    "detach": "it returns the state, cut off from the graph",
}


@pytest.mark.parametrize("name", RETURNS)
def test_missing_part_of_a_family_is_named(mine: Any, name: str) -> None:
    owner = mine.GRUConfig if name in vars(mine.GRUConfig) else mine.GRU
    delattr(owner, name)
    with pytest.raises(UserError, match=rf"^my_gru\.{owner.__name__}: {name} is missing; {RETURNS[name]}$"):
        LanguageModel(mine.GRUConfig(d_model=8))


@pytest.mark.parametrize(("name", "field"), [("width", "d_model"), ("depth", "n_layer")])
def test_field_of_another_name_needs_its_property(home: Path, name: str, field: str) -> None:
    """Without the property the shape is not known; with it the model is built."""
    text = block("python").replace(field, "own")
    (home / "my_gru.py").write_text(text)
    config = importlib.import_module("my_gru").GRUConfig
    sizes = {"d_model": 8, "n_layer": 1, "own": {"d_model": 8, "n_layer": 1}[field]}
    del sizes[field]
    with pytest.raises(UserError, match=rf"^my_gru\.GRUConfig: {name} is missing; .* the field {field} "):
        LanguageModel(config(**sizes))
    setattr(config, name, property(lambda self: self.own))
    assert getattr(LanguageModel(config(**sizes)).config, name) == sizes["own"]


@pytest.mark.parametrize("name", ["causal", "recurrent"])
def test_missing_capability_of_a_backbone_is_named(mine: Any, name: str) -> None:
    delattr(mine.GRU, name)
    with pytest.raises(UserError, match=rf"^my_gru\.GRU: {name} is missing; it says whether "):
        LanguageModel(mine.GRUConfig(d_model=8))


def test_state_methods_are_not_asked_of_a_backbone_without_state(mine: Any) -> None:
    mine.GRU.recurrent = False
    del mine.GRU.take, mine.GRU.detach
    assert LanguageModel(mine.GRUConfig(d_model=8)).backbone.config.d_model == 8


def test_unfinished_plugin_is_one_line_of_the_command(
    home: Path, genome: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = block("python").replace("def build(", "def bild(")
    (home / "my_gru.py").write_text(text)
    own = (f"data.fasta={genome}", "data.valid=[two]", "data.test=[three]", "hydra.run.dir=run")
    assert command("pretrain", "--config-dir=conf", "plugins=[my_gru]", "model=gru", *own, *SMALL) == 1
    assert capsys.readouterr().err == (
        "dnamamba: error: my_gru.GRUConfig: build is missing; it returns the Backbone\n"
    )
    assert not (home / "run").exists()


def test_family_without_the_decorator_is_refused(home: Path) -> None:
    text = block("python").replace("@dataclass(frozen=True)\n", "")
    (home / "my_gru.py").write_text(text)
    group = OmegaConf.create({"family": "my_gru.GRUConfig", "d_model": 8})
    with pytest.raises(UserError, match=r"^model\.family: my_gru\.GRUConfig is not a dataclass; write @data"):
        model_config(group, "dna")


def test_unfinished_head_names_the_class_that_documents_it() -> None:
    class Half(Head):
        """Without a method of its own."""

    with pytest.raises(UserError, match=r"Half: answer is missing; dnamamba\.heads\.base\.Head says what it"):
        Half.answer(object.__new__(Half), torch.zeros(1))
