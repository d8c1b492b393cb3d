"""Pages of the site that are made of something else: of conf/, of CONTRIBUTING.md, of CHANGELOG.md.

A hook of MkDocs. A command's page has what `dnamamba <command> --help` prints, as tables.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dnamamba.commands.entry import COMMANDS  # noqa: E402
from dnamamba.commands.help import FLAGS, Setting, reference  # noqa: E402


def _printed(module: str) -> Callable[[], str]:
    """Return what a command without a file in conf/ prints of itself."""
    program = [sys.executable, "-m", module, "--help"]
    return lambda: subprocess.run(
        program, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.rstrip()


PLAIN = {name: _printed(f"dnamamba.{name}") for name in ("info", "prepare")}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give the navigation a page for each command."""
    pages: list[Any] = [{name: f"commands/{name}.md"} for name in COMMANDS]
    _replace(config.nav, pages)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file of docs/ holds."""
    made = {f"commands/{name}.md": command(name) for name in COMMANDS}
    for source in ("CONTRIBUTING.md", "CHANGELOG.md"):
        made[source.lower()] = from_root((ROOT / source).read_text("utf-8"))
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the README, which GitHub shows, to the site's first page."""
    return markdown.replace("](../README.md)", "](index.md)")


def command(name: str) -> str:
    """Return the page of a command."""
    if name in PLAIN:
        return "\n".join([f"# dnamamba {name}", "", "```text", PLAIN[name](), "```"])
    about = reference(name)
    opening = [f"  {line}" if line.startswith("  ") else line for line in about.opening]  # blocks of code
    lines = [f"# dnamamba {name}", "", *opening, ""]
    for title, rows in about.tables.items():
        lines += [f"## {title}", "", *_table(rows), ""]
    flags = [Setting(flag, "", meaning) for flag, meaning in FLAGS.items()]
    return "\n".join([*lines, "## Flags", "", *_table(flags)])


def from_root(text: str) -> str:
    """Return a page that links from the root of the repository as one that links from docs/."""
    return re.sub(r"\]\(docs/", "](", text)


def _table(rows: list[Setting]) -> list[str]:
    """Return a table of settings, or of names that have no default."""
    if not any(row.default for row in rows):
        return [
            "| name | meaning |",
            "|---|---|",
            *(_row(f"`{row.name}`", _plain(row.meaning)) for row in rows),
        ]
    cells = (
        (f"`{row.name}`", f"`{row.default}`" if row.default else "", _plain(row.meaning)) for row in rows
    )
    return ["| key | default | meaning |", "|---|---|---|", *(_row(*three) for three in cells)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Return a comment of conf/ with its underscores, which Markdown would take for emphasis."""
    return "".join(
        part if part.startswith("`") else part.replace("_", "\\_") for part in re.split("(`[^`]*`)", text)
    )


def _replace(nav: Any, pages: list[Any]) -> None:
    for section in nav:
        for title, inside in section.items() if isinstance(section, dict) else ():
            if inside == "commands":
                section[title] = pages
            elif isinstance(inside, list):
                _replace(inside, pages)
