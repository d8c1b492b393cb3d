"""The experiments of the paper, rows of conf/paper.yaml: choices of `experiment=` with published numbers."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from dnamamba.errors import UserError

PEERS = {"hyenadna": "HyenaDNA", "transformer": "Transformer++"}
_CHANGES = ("data", "train", "scratch")  # groups that a row may change


def conf_dir() -> Path:
    """Return the folder of configuration files: the wheel's own, else the checkout's.

    Raises:
        UserError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "pretrain.yaml").is_file():
            return folder
    raise UserError(f"{package}: no folder conf next to it; install dnamamba again")


@cache
def paper() -> dict[str, dict[str, Any]]:
    """Return the rows of conf/paper.yaml by name."""
    with (conf_dir() / "paper.yaml").open() as file:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C ten times as fast
        return yaml.load(file, Loader=loader)


def experiment_names(command: str | None = None) -> list[str]:
    """Return every choice of `experiment=`: files of conf/experiment, and rows of conf/paper.yaml.

    Args:
        command: only those that its command, such as `finetune`, can take; `plan` takes those of `pretrain`.
    """
    home = conf_dir() / "experiment"
    of_file = {
        path.relative_to(home).with_suffix("").as_posix(): command_of(path.read_text())
        for path in home.rglob("*.yaml")
    }
    of_name = {**of_file, **{name: of_file[row["base"]] for name, row in paper().items()}}
    wanted = None if command is None else settings_command(command)
    return sorted(name for name, found in of_name.items() if wanted in (None, found))


def settings_command(command: str) -> str:
    """Return the command whose settings a command takes: its own, but `plan` those of `pretrain`."""
    return "pretrain" if command == "plan" else command


def command_of(text: str) -> str | None:
    """Return the command that the opening comment of a configuration file is for; None for any."""
    found = re.search(r"^#(?: Command: |   python -m dnamamba\.)(\w+)", text, re.MULTILINE)
    return found[1] if found else None


class _Shared(dict[str, Any]):
    """A group of Hydra's store, which it copies to compose a configuration, and what it reads again.

    The first copy is of no use: without it composing takes two thirds of the time.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared":
        return self


@cache  # the store keeps them: each time takes a third of composing a configuration
def register_experiments() -> None:
    """Make each row of conf/paper.yaml a choice that Hydra finds next to the files; once in a process."""
    store = ConfigStore.instance()
    for name, row in paper().items():
        group, _, choice = f"experiment/{name}".rpartition("/")
        store.store(group=group, name=choice, node=_node(row), package="_global_", provider="conf/paper.yaml")
    store.repo["experiment"] = _Shared(store.repo["experiment"])


def published(name: str | None) -> str | None:
    """Return the paper's result of an experiment, in a line; None without one.

    >>> published("hg38/size_1m4")
    'published: perplexity 2.925 (HyenaDNA 2.959, Transformer++ 2.98)'
    """
    numbers = dict(paper().get(name or "", {}).get("published", {}))
    if not numbers:
        return None
    peers = ", ".join(f"{label} {numbers.pop(key)}" for key, label in PEERS.items() if key in numbers)
    found = ", ".join(f"{key} {value}" for key, value in numbers.items())
    return f"published: {found} ({peers})" if peers else f"published: {found}"


def measured(name: str | None) -> str | None:
    """Return our measurement of an experiment, in a line; None without one.

    >>> measured("hg38/human_125m_2p20")
    'measured: perplexity 2.6 (validation), 2.775 (test); 3 seeds, H100, 2026-11-27, docs/human_h200.md'
    """
    found = paper().get(name or "", {}).get("measured")
    if found is None:
        return None
    return f"measured: perplexity {found['valid']} (validation), {found['test']} (test); {found['how']}"


def _node(row: dict[str, Any]) -> dict[str, Any]:
    changes = {group: dict(row[group]) for group in _CHANGES if group in row}
    if "max_length" in row:
        changes["data"] = {"max_length": row["max_length"], **changes.get("data", {})}
    if "shape" in row:
        changes["model"] = dict(row["shape"])
    model = [{"override /model": row["model"]}] if "model" in row else []
    return {"defaults": [row["base"], *model, "_self_"], **changes}
