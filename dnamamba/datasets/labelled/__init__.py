"""A user's own labelled sequences."""

from typing import Any

from dnamamba.datasets.labelled.config import LabelledConfig

__all__ = ["LabelledConfig", "LabelledData"]


def __getattr__(name: str) -> Any:
    """Import the data set when it is asked for: it needs torch, and its settings don't."""
    if name != "LabelledData":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dnamamba.datasets.labelled.data import LabelledData

    return LabelledData
