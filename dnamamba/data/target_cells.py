"""Cells of several columns that are labels together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnamamba.errors import UserError

READ_AS = {"classification": "class", "regression": "number"}
"""How a head reads the label of each kind of target."""
_SEPARATORS = (";", "=")


def check_kinds(kinds: Mapping[str, Any], where: str = "data.targets") -> None:
    """Refuse targets without a kind, and names that can't be written.

    Raises:
        UserError: naming the target.
    """
    for name, kind in kinds.items():
        if kind not in READ_AS:
            raise UserError(f"{where}.{name}: must be {' or '.join(READ_AS)} (got {kind!r})")
        if any(separator in str(name) for separator in _SEPARATORS):
            raise UserError(f"{where}: a column's name has no ; or = in it (got {name!r}); rename it")


def joined_cells(cells: Mapping[str, str], kinds: Mapping[str, str], where: str) -> str:
    """Return the cells of a row as one label, nothing where all are empty.

    Args:
        cells: of the row.
        kinds: of the targets.
        where: the row is, for messages.

    Raises:
        UserError: a cell has a semicolon, which separates them.
    """
    own = {name: cells[name].strip() for name in kinds}
    for name, cell in own.items():
        if ";" in cell:
            raise UserError(f"{where}: {name} has a ';' in it (got {cell[:40]!r}); a class has none")
    return ";".join(own.values()) if any(own.values()) else ""
