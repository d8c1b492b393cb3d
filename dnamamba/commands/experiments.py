"""The experiments of the paper, rows of conf/paper.yaml: choices of `experiment=` with published numbers."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from dnamamba.errors import UserError

PEERS = {"hyenadna": "HyenaDNA", "transformer": "Transformer++"}
_CHANGES = ("data", "train", "scratch")  # groups that a row may change


def conf_dir() -> Path:
    """The folder of configuration files: the wheel's own, else the checkout's.

    Raises:
        UserError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "pretrain.yaml").is_file():
            return folder
    raise UserError(f"{package}: no folder conf beside it; install dnamamba again")


@cache
def paper() -> dict[str, dict[str, Any]]:
    """The rows of conf/paper.yaml by name."""
    with (conf_dir() / "paper.yaml").open() as file:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C ten times as fast
        return yaml.load(file, Loader=loader)


def experiment_names() -> list[str]:
    """Every choice of `experiment=`: files of conf/experiment, and rows of conf/paper.yaml."""
    home = conf_dir() / "experiment"
    files = (path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml"))
    return sorted({*files, *paper()})


def register_experiments() -> None:
    """Make each row of conf/paper.yaml a choice that Hydra finds beside the files."""
    store = ConfigStore.instance()
    for name, row in paper().items():
        group, _, choice = f"experiment/{name}".rpartition("/")
        store.store(group=group, name=choice, node=_node(row), package="_global_", provider="conf/paper.yaml")


def published(name: str | None) -> str | None:
    """What the paper reports of an experiment, in a line; None where it reports nothing.

    >>> published("hg38/size_1m4")
    'published: perplexity 2.925 (HyenaDNA 2.959, Transformer++ 2.98)'
    """
    numbers = dict(paper().get(name or "", {}).get("published", {}))
    if not numbers:
        return None
    peers = ", ".join(f"{label} {numbers.pop(key)}" for key, label in PEERS.items() if key in numbers)
    found = ", ".join(f"{key} {value}" for key, value in numbers.items())
    return f"published: {found} ({peers})" if peers else f"published: {found}"


def _node(row: dict[str, Any]) -> dict[str, Any]:
    changes = {group: dict(row[group]) for group in _CHANGES if group in row}
    if "max_length" in row:
        changes["data"] = {"max_length": row["max_length"], **changes.get("data", {})}
    model = [{"override /model": row["model"]}] if "model" in row else []
    return {"defaults": [row["base"], *model, "_self_"], **changes}
