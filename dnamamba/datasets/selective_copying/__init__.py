"""Symbols to copy, made as they are read."""

from typing import Any

from dnamamba.datasets.selective_copying.config import SelectiveCopyingConfig

__all__ = ["SelectiveCopyingConfig", "SelectiveCopyingData"]


def __getattr__(name: str) -> Any:
    """Import the data set when it is asked for: it needs torch, and its settings don't."""
    if name != "SelectiveCopyingData":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dnamamba.datasets.selective_copying.data import SelectiveCopyingData

    return SelectiveCopyingData
