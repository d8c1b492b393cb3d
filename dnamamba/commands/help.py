"""`dnamamba <command> --help`: purpose, examples and every key with meaning and default, read from conf/."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

from dnamamba.commands.experiments import command_of, conf_dir, experiment_names, settings_command

HIDDEN = ("defaults", "hydra")  # Hydra's own
FLAGS = {
    "--multirun, -m": "run once for each of several values: train.seed=0,1,2",
    "--config-dir DIR": "a folder of your own configuration files, such as DIR/experiment/mine.yaml",
    "--cfg job": "print the configuration and run nothing",
}
_KEY = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: +(?P<value>[^#\s].*?))?(?:\s+#\s?(?P<meaning>.*))?$")


class Setting(NamedTuple):
    """A key of a configuration file: its dotted name, its default as written, what it means."""

    name: str
    default: str
    meaning: str


class Reference(NamedTuple):
    """What there is to say of a command: its opening comment, and tables of settings by their titles."""

    opening: list[str]
    tables: dict[str, list[Setting]]


def reference(command: str) -> Reference:
    """Return purpose, examples and every setting of a command, with all choices of each group.

    Args:
        command: the name of a file at the root of conf/.
    """
    text = (conf_dir() / f"{command}.yaml").read_text()
    tables = {"Settings": _own(command, text)}
    for group in chosen(command):
        if group == "experiment":
            tables["experiment=NAME"] = [Setting(name, "", "") for name in experiment_names(command)]
            continue
        choices = _choices(command, group)
        tables[f"{group}=CHOICE"] = [Setting(name, "", _purpose(group, name)) for name in choices]
        seen = []
        for choice in choices:
            inside = list(settings(_file(group, choice).read_text(), f"{group}."))
            names = [setting.name for setting in inside]
            if names and names not in seen:  # sizes of one family have the same keys
                tables[f"{group}={choice}"] = inside
                seen.append(names)
    return Reference(opening(text), tables)


def page(command: str, overrides: Sequence[str] = ()) -> str:
    """Return the help page of a command, for the groups that the overrides choose.

    Args:
        command: the name of a file at the root of conf/.
        overrides: as typed; only choices among the files of a group matter.
    """
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))
    text = (conf_dir() / f"{command}.yaml").read_text()
    own, choices = _own(command, text), chosen(command, overrides)
    lines = [f"usage: dnamamba {command} [key=value ...]", "", *opening(text), ""]
    required = [setting.name for setting in own if setting.default == "???"]
    if required:
        lines += [f"Required: {', '.join(required)}", ""]
    lines += ["Settings:", *_table(own, width)]
    for group, choice in choices.items():
        lines += ["", *_group(command, group, choice, width)]
    lines += ["", "RUN is the folder of a pretraining, FT that of a fine-tuning."]
    lines += ["", "Flags:", *_table([Setting(flag, "", use) for flag, use in FLAGS.items()], width)]
    return "\n".join(lines)


def _own(command: str, text: str) -> list[Setting]:
    own = list(settings(text))
    if command == "plan":  # which takes the settings of another command
        own += settings((conf_dir() / "pretrain.yaml").read_text())
    return own


def opening(text: str) -> list[str]:
    """Return the comment that a configuration file begins with, as plain lines."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith(("# @package", "# Command:")):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return [re.sub(r"^(\s+)python -m dnamamba\.", r"\1dnamamba ", line) for line in lines]


def settings(text: str, before: str = "") -> Iterator[Setting]:
    """Yield the keys of a configuration file, in its order; a comment behind or above explains each.

    >>> list(settings("a: 1  # one\\nb:     # two\\n  c: x  # three\\n"))[2]
    Setting(name='b.c', default='x', meaning='three')
    """
    path: list[tuple[int, str]] = []
    above: list[str] = []
    for line in _body(text):
        found = _KEY.match(line)
        if found is None:
            above = [*above, line.strip(" #")] if line.lstrip().startswith("#") else []
            continue
        indent = len(found["indent"])
        path = [*((depth, key) for depth, key in path if depth < indent), (indent, found["key"])]
        if path[0][1] not in HIDDEN:
            name = ".".join(key for _, key in path)
            yield Setting(f"{before}{name}", found["value"] or "", found["meaning"] or " ".join(above))
        above = []


def _body(text: str) -> list[str]:
    """Return the lines of a configuration file after its opening comment."""
    lines = text.splitlines()
    return list(dropwhile(lambda line: line.startswith("#"), lines))


def chosen(command: str, overrides: Sequence[str] = ()) -> dict[str, str | None]:
    """Return the groups of a command's configuration, each with the file that is taken of it."""
    text = (conf_dir() / f"{command}.yaml").read_text()
    found: dict[str, str | None] = {}
    if command == "plan":
        found |= chosen("pretrain")
    for group, choice in re.findall(r"^  - (\w+): (\w+)$", text, re.MULTILINE):
        found[group] = None if choice == "null" else choice
    for override in overrides:
        group, _, choice = override.partition("=")
        if group in found and (group == "experiment" or _file(group, choice).is_file()):
            found[group] = choice
    return found


def _file(group: str, choice: str) -> Path:
    return conf_dir() / group / f"{choice}.yaml"


def _group(command: str, group: str, choice: str | None, width: int) -> list[str]:
    if group == "experiment":
        names = textwrap.wrap(", ".join(experiment_names(command)), width - 2, break_on_hyphens=False)
        return ["experiment=NAME, settings that go together:", *(f"  {line}" for line in names)]
    lines = [f"{group}={choice}, a choice of:"]
    choices = _choices(command, group)
    about = [Setting(name, "", _purpose(group, name)) for name in choices]
    text = _file(group, choice or choices[0]).read_text()
    return [*lines, *_table(about, width), "", *_table(list(settings(text, f"{group}.")), width)]


def _choices(command: str, group: str) -> list[str]:
    wanted = settings_command(command)
    files = sorted((conf_dir() / group).glob("*.yaml"))
    return [path.stem for path in files if command_of(path.read_text()) in (None, wanted)]


def _purpose(group: str, choice: str) -> str:
    text = " ".join(opening(_file(group, choice).read_text()))
    return re.split(r"(?<=[.:]) ", text)[0].rstrip(".:")


def _table(rows: Sequence[Setting], width: int) -> list[str]:
    left = [f"{name}={default}" if default else name for name, default, _ in rows]
    column = min(max((len(text) for text in left), default=0), 44) + 4
    lines = []
    for text, row in zip(left, rows, strict=True):
        meaning = textwrap.wrap(row.meaning, max(30, width - column)) or [""]
        if len(text) > column - 2:
            lines.append(f"  {text}")
            text = ""
        lines.append(f"  {text:<{column - 2}}{meaning[0]}".rstrip())
        lines += [f"{' ' * column}{rest}" for rest in meaning[1:]]
    return lines
