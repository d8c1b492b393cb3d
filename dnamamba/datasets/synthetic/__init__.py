"""Tasks that are made as they are read: selective copying and induction heads."""

from importlib import import_module
from typing import Any

from dnamamba.datasets.synthetic.config import InductionHeadsConfig, SelectiveCopyingConfig

__all__ = ["InductionHeadsConfig", "InductionHeadsData", "SelectiveCopyingConfig", "SelectiveCopyingData"]


def __getattr__(name: str) -> Any:
    """Import the data sets when they are asked for: they need torch, and their settings don't."""
    if name not in ("InductionHeadsData", "SelectiveCopyingData"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("dnamamba.datasets.synthetic.data"), name)
