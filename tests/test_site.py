"""The documentation site builds strictly, has every public name, and explains errors that there are."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dnamamba

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# A parameter's value in a message, or in a heading of the FAQ.
HOLE = "…"


def parts_of(node: ast.AST) -> Iterator[str]:
    """A string of the source in its parts, a hole for each value that is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            for value in values:
                yield value.value if isinstance(value, ast.Constant) else HOLE
        case ast.BinOp(left=left, right=right):
            yield from parts_of(left)
            yield from parts_of(right)


@cache
def messages() -> tuple[str, ...]:
    """Every string of the package that is not a docstring."""
    found = []
    for path in sorted((ROOT / "dnamamba").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                found.append("".join(parts_of(node)))
    return tuple(found)


def is_message(heading: str) -> bool:
    """Whether the fixed parts of a heading follow one another in a string of the package."""
    fixed = [part for part in heading.split(HOLE) if part.strip(" .:,;()")]
    return any(follow_in(message, fixed) for message in messages())


def follow_in(message: str, parts: list[str]) -> bool:
    at = 0
    for part in parts:
        found = message.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


HEADINGS = re.findall(r"^### `(.*)`$", (DOCS / "faq.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("heading", HEADINGS)
def test_errors_of_the_faq_are_messages_of_the_package(heading: str) -> None:
    assert is_message(heading)


def test_an_error_that_no_message_has_is_found() -> None:
    assert len(HEADINGS) > 20
    assert not is_message("…: no such fish")
    assert not is_message("choose device=cpu … there is no CUDA GPU here")  # the other way round


PAGES = "\n".join(page.read_text("utf-8") for page in DOCS.glob("api/*.md"))


@pytest.mark.parametrize("name", sorted(set(dnamamba.__all__) - {"__version__"}))
def test_public_names_are_on_a_page_with_their_docstrings(name: str) -> None:
    value = getattr(dnamamba, name)
    assert f"\n::: {dnamamba._HOME[name]}.{name}\n" in PAGES
    assert value.__doc__
    assert value.__doc__[0].isupper()


def test_configuration_page_has_every_group_and_choice() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| .* \| (.*) \|$", (DOCS / "configuration.md").read_text("utf-8"), re.MULTILINE
    )
    shown = {group: re.findall(r"`(\w+)`", choices) for group, choices in rows if group != "experiment"}
    groups = [
        folder for folder in (ROOT / "conf").iterdir() if folder.is_dir() and folder.name != "experiment"
    ]
    there = {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in groups}
    assert shown == there


def test_names_on_pages_exist() -> None:
    for path in re.findall(r"^::: (\S+)$", PAGES, re.MULTILINE):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_docstrings_are_made_readable() -> None:
    pytest.importorskip("griffe")
    extension = runpy.run_path(str(DOCS / "docstrings.py"))
    text = [
        "Add.",
        "",
        ">>> 1 + 1",
        "2",
        "",
        "Args:",
        "    a, b: as",
        "        above.",
        "    c: so.",
        "    >>> a",
    ]
    expected = ["Add.", "", "```pycon", ">>> 1 + 1", "2", "```", "", "Args:", "    a: as", "        above."]
    expected += ["    b: as", "        above.", "    c: so.", "    ```pycon", "    >>> a", "    ```"]
    assert extension["readable"]("\n".join(text)).splitlines() == expected


@pytest.mark.timeout(60)
def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Broken links, pages that the navigation lacks and names that mkdocstrings can't find are warnings."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    embed = (tmp_path / "commands" / "embed" / "index.html").read_text("utf-8")
    for setting in ("pool_every", "overwrite", "missing"):
        assert f"<code>{setting}</code>" in embed
    pretrain = (tmp_path / "commands" / "pretrain" / "index.html").read_text("utf-8")
    assert "<code>dnamamba pretrain\ndnamamba pretrain data.fasta" in re.sub(
        r"<a [^>]*></a>|</?span[^>]*>", "", pretrain
    )
    assert "{_target_: my_package.MyCallback" in pretrain
    first = (tmp_path / "index.html").read_text("utf-8")
    assert not re.findall(r'(?:src|<link[^>]* href)="https?://[^"]*', first)
