"""The README says what an installation brings, and what every extra is for."""

import re
import tomllib
from pathlib import Path

import pytest

from dnamamba.commands.entry import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = sorted(set(PROJECT["optional-dependencies"]) - {"dev"})


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_is_in_the_table(extra: str) -> None:
    table = README[README.index("| extra | for |") :].partition("\n\n")[0]
    assert f"`{extra}`" in table


def test_cuda_packages_and_a_cpu_only_installation_are_explained() -> None:
    section = README[README.index("## What pip installs") :].partition("\n## ")[0]
    for words in ("CUDA packages", "triton", "CPU build first", "Compute Platform: CPU"):
        assert words in section


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_shown_once_at_least(command: str) -> None:
    assert re.search(rf"dnamamba[ .]{command}\b", README)


@pytest.mark.parametrize("page", ["heads", "reliability", "kernel-log", "great_apes", "annotation", "signal"])
def test_pages_of_docs_are_linked(page: str) -> None:
    assert f"(docs/{page}.md)" in README


def test_forms_and_flags_of_a_command_have_an_example() -> None:
    for words in (
        "`python -m dnamamba.X` and `dnamamba X` are the same command",
        "ckpt_path=RUN",
        "--config-dir my_conf experiment=mine",
        "+callbacks.mine._target_=",
        "data.table=my.csv",
        "data.bed=g.gff3",
    ):
        assert words in README
    assert README.index("`RUN` is the folder") < README.index("model=RUN")
    assert all("-c constraints.txt" in line for line in README.splitlines() if "pip install -" in line)


def test_extras_named_in_messages_exist() -> None:
    named = set()
    for path in (ROOT / "dnamamba").rglob("*.py"):
        named |= set(re.findall(r"dnamamba\[(\w+)\]", path.read_text("utf-8")))
        named |= set(re.findall(r'need\("\w+", "(\w+)"', path.read_text("utf-8")))
    assert named <= set(EXTRAS)
    assert {"sweep", "tracks"} <= named
