"""Blocks of code of the pages, and what can be done with each: run it, or read it as its program would."""

import argparse
import contextlib
import importlib
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from markdown_it import MarkdownIt

from dnamamba.commands.entry import COMMANDS, WITH_VALUE
from dnamamba.config import composed

ROOT = Path(__file__).parents[1]
# Pages of notebooks show cells, which tests/test_notebooks.py runs.
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if path.parent.name != "notebooks" or path.name == "README.md"
)
NO_CODE = {"text", "mermaid"}  # what is printed, what is drawn
# Programs that are not run here, and why not.
NOT_RUN = {
    "pip": "installs, from the network",
    "git": "clones, from the network",
    "docker": "needs its daemon",
    "conda": "installs, from the network",
    "pytest": "would run itself",
    "pre-commit": "installs, from the network",
    "ruff": "changes nothing that a test could see",
    "mypy": "changes nothing that a test could see",
    "mkdocs": "tests/test_site.py builds the site",
    "twine": "tests/test_install.py calls it",
    "unzip": "opens what pip has downloaded",
    "cd": "is the shell's own",
    "build": "tests/test_install.py builds both archives",
    "tests/every_command.py": "needs a fresh environment with the wheel",
}
# What stands for every command in a text.
ANY = ("X", "<command>")
# Words in place of what a reader chooses.
CHOSEN = {
    "experiment=NAME",
    "...",
    "[key=value]",
    "[group=choice]",
    "[--multirun]",
    "<the",
    "same",
    "settings>",
}
REASON = re.compile(r"^<!-- not run: (?P<reason>.+?) -->$", re.DOTALL)
COMMENT = re.compile(r"`((?:python -m dnamamba\.|dnamamba )[^`]+)`")


class Block(NamedTuple):
    """A block of code.

    Attributes:
        line: of the page, from 1.
        language: of its fence; empty where it has none.
        reason: why it is not run, of a comment of the page's source just above it: <!-- not run: ... -->
    """

    line: int
    language: str
    code: str
    reason: str | None


def blocks(page: str) -> list[Block]:
    """Return the blocks of code of a page, as a reader of Markdown finds them."""
    found, reason = [], None
    for token in MarkdownIt("commonmark").parse((ROOT / page).read_text("utf-8")):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            found.append(Block(token.map[0] + 1, token.info.strip(), token.content, reason))
        matched = REASON.match(token.content.strip()) if token.type == "html_block" else None
        reason = matched["reason"] if matched else None
    return found


def lines(code: str) -> Iterator[list[str]]:
    """Yield the words of every command of a shell's block."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        if words:
            yield words


class Called(NamedTuple):
    """A program, found behind what starts it.

    Attributes:
        kind: `command` of dnamamba, `module` or `file` of Python, or another `program`.
        several: whether it is started as several processes.
    """

    kind: str
    name: str
    words: list[str]
    several: bool = False


def called(words: list[str]) -> Called:
    """Return what a line of a shell calls."""
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    several = words[0] in ("srun", "torchrun")
    if words[0] == "srun":
        words = words[1:]
    elif words[0] == "torchrun":
        words = ["python", *words[words.index("-m") :]]
    if words[0] in ("python", "python3.12", "fresh/bin/python"):
        if words[1] != "-m":
            return Called("file", words[1], words[2:])
        words = words[2:]
        if not words[0].startswith("dnamamba."):
            return Called("module", words[0], words[1:])
        words = ["dnamamba", words[0].removeprefix("dnamamba."), *words[1:]]
    if words[0] == "dnamamba":
        return Called("command", words[1], [word for word in words[2:] if word not in CHOSEN], several)
    return Called("program", words[0].rpartition("/")[2], words[1:])


def inline(page: str) -> list[list[str]]:
    """Return the words of the commands within a page's text and tables."""
    text = (ROOT / page).read_text("utf-8")
    return [shlex.split(one) for one in COMMENT.findall(text)]


def overrides(words: list[str]) -> list[str]:
    """Return a command's settings; of a sweep, those of its first job."""
    flags = {i for i, word in enumerate(words) if word.startswith("-")}
    flags |= {i + 1 for i in flags if words[i] in WITH_VALUE}
    given = [word for i, word in enumerate(words) if i not in flags]
    if "--multirun" not in words:
        return given
    first = []
    for one in OverridesParser.create().parse_overrides(given):
        value = one.value()
        if isinstance(value, IntervalSweep):
            first.append(f"{one.key_or_group}={value.start}")
        elif one.is_sweep_override():
            first.append(f"{one.key_or_group}={next(one.sweep_string_iterator())}")
        else:
            first.append(str(one.input_line))
    return first


def read(call: Called) -> None:
    """Let a program read its arguments as it would, and do nothing with them."""
    match call.kind:
        case "command" if call.name in ANY or {"--help", "-h"} & {call.name, *call.words}:
            assert call.name in (*COMMANDS, *ANY, "--help")
        case "command" if call.name == "prepare":
            parse("dnamamba.prepare", call.words)
        case "command" if call.name == "info":
            assert not call.words
        case "module" | "file" if call.name in NOT_RUN:
            pass
        case "command":
            assert call.name in COMMANDS
            composes(call.name, signature(overrides(call.words)))
        case "module" | "file":
            parse(call.name, call.words)
        case _:
            assert call.name in NOT_RUN, f"{call.name} is neither run nor has a reason why not"


def signature(given: list[str]) -> tuple[str, ...]:
    """Return settings, with one path in place of all: of such a setting only the key is judged."""
    return tuple(
        re.sub(
            r"^((?:fasta|out|data\.fasta|data\.bed|vcf|bed|model)=)[\w./<>-]*[./A-Z<][\w./<>-]*$",
            r"\1x.y",
            one,
        )
        for one in given
    )


@cache
def composes(name: str, given: tuple[str, ...]) -> None:
    """Compose a command's configuration; once for what pages repeat, since each takes a tenth of a second."""
    composed(name, given)


class Parsed(Exception):  # noqa: N818
    """The arguments of a program are accepted."""


def parse(program: str, words: list[str]) -> None:
    """Start a program of Python, up to where it has read its arguments."""
    original = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_known_args
    inside: list[str] = []

    def first(parse: Any) -> Any:
        """Parse, and end the program where it was the program that asked, and not its parser."""

        def parse_and_end(self: argparse.ArgumentParser, *given: Any, **named: Any) -> Any:
            if inside:
                return parse(self, *given, **named)
            inside.append(program)
            parse(self, *given, **named)
            raise Parsed

        return parse_and_end

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", first(original[0])),
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", first(original[1])),
        mock.patch.object(sys, "argv", [program, *words]),
        mock.patch.object(sys, "path", [str(ROOT), str((ROOT / program).parent), *sys.path]),
        contextlib.suppress(Parsed),
    ):
        if program.endswith(".py"):
            runpy.run_path(str(ROOT / program), run_name="__main__")
        else:
            importlib.import_module(program).main()
        raise AssertionError(f"{program} has read no arguments")


def run(name: str, words: list[str]) -> None:
    """Run a command of dnamamba here; what it says is shown if it fails."""
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [f"dnamamba.{name}", *words]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        try:
            importlib.import_module(f"dnamamba.{name}").main()
            status: object = 0
        except SystemExit as end:
            status = end.code
    assert not status, said.getvalue()
