"""Which class a head's name stands for: those of the package by name, those of a user by import path."""

from typing import Any

from dnamamba.errors import UserError
from dnamamba.heads.base import Head
from dnamamba.heads.positions import PositionHead
from dnamamba.plugins import imported, untrusted_module

HEADS = {
    "classification": "dnamamba.heads.classification.Classification",
    "multitask": "dnamamba.heads.multitask.Multitask",
    "multilabel": "dnamamba.heads.multilabel.Multilabel",
    "regression": "dnamamba.heads.regression.Regression",
}
POSITION_HEADS = {
    "base_classes": "dnamamba.heads.base_classes.BaseClasses",
    "signal": "dnamamba.heads.signal.Signal",
}


def position_head(kind: str) -> type[PositionHead]:
    """Return the class of a head that answers at every position.

    Raises:
        UserError: the head is unknown.
    """
    if kind not in POSITION_HEADS:
        raise UserError(f"decoder.kind: must be one of {', '.join(POSITION_HEADS)} (got {kind!r})")
    return imported(POSITION_HEADS[kind], PositionHead, "decoder.kind")


def head_class(kind: str, key: str = "decoder.kind") -> type[Head]:
    """Return the class of a head that the user has named.

    Args:
        kind: one of `HEADS`, or an import path such as `my_package.heads.Counts`.
        key: names the setting in an error.

    Raises:
        UserError: the head is unknown.
    """
    if kind not in HEADS and "." not in kind:
        raise UserError(
            f"{key}: must be one of {', '.join(HEADS)} or the import path of a Head (got {kind!r})"
        )
    return imported(HEADS.get(kind, kind), Head, key)


def head_of_file(kind: Any, key: str = "decoder.kind") -> type[Head]:
    """Find the head's class that a model's file names: the package's, or one already imported.

    Raises:
        UserError: the file names a module that nobody has imported; the message says how to trust it.
    """
    if not isinstance(kind, str):
        raise UserError(f"{key}: must be a name (got {kind!r})")
    module = untrusted_module(kind, HEADS)
    if module:
        raise UserError(f"{key}: unknown head {kind!r}; if you trust {module}, add plugins=[{module}]")
    return head_class(kind, key)
