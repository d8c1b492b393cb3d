"""The rules of examples/ call dnamamba as it is, and docs/workflows.md shows them as they are."""

import re
import shlex
from pathlib import Path

import pytest

from dnamamba.commands.entry import COMMANDS
from dnamamba.config import composed

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "workflows.md").read_text("utf-8")
SNAKEFILE = (ROOT / "examples" / "snakemake" / "Snakefile").read_text("utf-8")
NEXTFLOW = (ROOT / "examples" / "nextflow" / "main.nf").read_text("utf-8")
JOINED = re.sub(r'"\n\s+"', "", SNAKEFILE)  # strings that Python joins


def commands(text: str) -> list[list[str]]:
    """The words of every call of dnamamba, up to where its output goes."""
    return [shlex.split(found) for found in re.findall(r'dnamamba (\w+ [^"\n&]+)', text)]


@pytest.mark.parametrize("text", [JOINED, NEXTFLOW], ids=["snakemake", "nextflow"])
def test_keys_of_commands_exist(text: str) -> None:
    found = commands(text)
    assert found
    for name, *overrides in found:
        assert name in COMMANDS
        assert {"model", "out", "fasta"} <= {override.partition("=")[0] for override in overrides}
        composed(name, [override.replace("{", "").replace("}", "") for override in overrides])


@pytest.mark.parametrize("text", [SNAKEFILE, NEXTFLOW], ids=["snakemake", "nextflow"])
def test_page_shows_the_rule_as_it_is(text: str) -> None:
    blocks = re.findall(r"```(?:snakemake|groovy)\n(.*?)```", PAGE, re.DOTALL)
    assert sum(block in text for block in blocks) == 1
