"""The tree and the rates of great_ape_tree.toml, or of a file like it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnamamba.errors import UserError

GREAT_APES = Path(__file__).with_name("great_ape_tree.toml")


@dataclass(frozen=True)
class Node:
    """A species, or an ancestor of some; `million_years` before the present."""

    name: str
    parent: str
    million_years: float


@dataclass(frozen=True)
class Substitutions:
    """The mean rate a site and million years, and the relative rates of four kinds."""

    per_site: float
    cpg_transition: float
    cpg_transversion: float
    transition: float
    transversion: float


@dataclass(frozen=True)
class Indels:
    """Short insertions and deletions, for each substitution, with lengths of a power law."""

    per_substitution: float
    deletions: float
    exponent: float
    longest: int


@dataclass(frozen=True)
class Repeats:
    """A family of mobile elements; the rate is for a megabase and a million years."""

    name: str
    length: int
    per_megabase: float
    truncated: bool


@dataclass(frozen=True)
class Duplications:
    """Copies of intervals of a record elsewhere in it; their lengths are log-uniform."""

    per_megabase: float
    shortest: int
    longest: int


@dataclass(frozen=True)
class Tree:
    """Nodes, each after its parent, and how a sequence changes from one to the next."""

    nodes: tuple[Node, ...]
    substitutions: Substitutions
    indels: Indels
    repeats: tuple[Repeats, ...]
    duplications: Duplications

    @property
    def species(self) -> tuple[str, ...]:
        """The nodes that no other node descends from."""
        parents = {node.parent for node in self.nodes}
        return tuple(node.name for node in self.nodes if node.name not in parents)

    def branch(self, node: Node) -> float:
        """Return million years from a node's parent to it; 0 for the root."""
        ages = {other.name: other.million_years for other in self.nodes}
        return ages.get(node.parent, node.million_years) - node.million_years

    def million_years_between(self, one: str, other: str) -> float:
        """Return million years along the tree from one node to another."""
        parents = {node.name: node.parent for node in self.nodes}
        ages = {node.name: node.million_years for node in self.nodes}
        above = _ancestors(one, parents)
        common = next(name for name in _ancestors(other, parents) if name in above)
        return 2 * ages[common] - ages[one] - ages[other]


def _ancestors(name: str, parents: dict[str, str]) -> list[str]:
    found = [name]
    while parents[found[-1]]:
        found.append(parents[found[-1]])
    return found


def load_tree(path: Path = GREAT_APES) -> Tree:
    """Read a tree.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None
    try:
        return _tree(tables)
    except KeyError as error:
        raise UserError(f"{path}: no {error.args[0]!r}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None


def _tree(tables: dict[str, Any]) -> Tree:
    tree = Tree(
        tuple(Node(**node) for node in tables["nodes"]),
        Substitutions(**tables["substitutions"]),
        Indels(**tables["indels"]),
        tuple(Repeats(**family) for family in tables["repeats"]),
        Duplications(**tables["duplications"]),
    )
    known: dict[str, Node] = {}
    for node in tree.nodes:
        if not node.name.isidentifier() or node.name in known:
            raise UserError(f"{node.name!r} is not a name for a node, or the name of two")
        if known and node.parent not in known:
            raise UserError(f"the node {node.name} comes before its parent {node.parent!r}")
        if not known and node.parent:
            raise UserError(f"the first node, {node.name}, is the root and has no parent")
        if tree.branch(node) < 0:
            raise UserError(f"the node {node.name} is older than its parent {node.parent}")
        known[node.name] = node
    if len(tree.species) < 2:
        raise UserError("a tree has at least two species")
    return tree
