"""Help pages: every key of every command, with its meaning and default."""

import os
import subprocess
import sys

import pytest
from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.entry import COMMANDS
from dnamamba.commands.experiments import conf_dir
from dnamamba.commands.help import opening, page, settings
from dnamamba.commands.pages import show
from dnamamba.config import composed

NAMES = [name for name in COMMANDS if name not in ("info", "prepare")]  # which have no configuration
FILES = sorted(path for path in conf_dir().rglob("*.yaml") if "experiment" not in path.parts)


def keys(group: DictConfig, before: str = "") -> set[str]:
    found = set()
    for key in group:
        name = f"{before}{key}"
        found.add(name)
        node = None if OmegaConf.is_missing(group, key) else group._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none():
            found |= keys(node, f"{name}.")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_page_names_every_key_and_three_examples(name: str) -> None:
    text = page(name)
    shown = {line.strip().partition("=")[0].split()[0] for line in text.splitlines() if line.strip()}
    assert keys(composed(name)) <= shown
    assert text.count(f"\n  dnamamba {name}") >= 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(conf_dir())))
def test_every_key_of_configuration_file_has_meaning(path: str) -> None:
    text = path.read_text()  # type: ignore[attr-defined]
    assert opening(text) or path.name == "paper.yaml"  # type: ignore[attr-defined]
    if path.name != "paper.yaml":  # type: ignore[attr-defined]
        bare = [setting.name for setting in settings(text) if not setting.meaning]
        assert not [name for name in bare if not name.endswith("_target_")]


def test_a_page_follows_the_choice_of_a_group() -> None:
    assert "data.species.human=null" in page("finetune", ["data=species"])
    assert "data.species.human" not in page("finetune")
    assert "apes/2p20_7m" in page("finetune")
    assert "hg38/size_1m4" not in page("finetune")
    assert "hg38/size_1m4" in page("plan")


def test_examples_say_whose_folder_is_meant() -> None:
    text = page("predict")
    assert "RUN is the folder of a pretraining, FT that of a fine-tuning." in text
    assert "model=FT" in text
    assert "model=RUN" not in text


def test_required_settings_are_named_first() -> None:
    assert "Required: model, fasta, out" in page("embed")


@pytest.mark.parametrize("name", ["embed", "info"])
def test_help_is_printed_without_torch(name: str) -> None:
    code = f"import sys; sys.argv = ['dnamamba', '{name}', '--help']\n"
    code += "from dnamamba.commands.entry import main\nmain()"
    code += "; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: dnamamba {name}")


def test_a_reader_that_stops_early_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", closefd=False) as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        show("a page\n")
        show("and another")
    os.close(writing)
