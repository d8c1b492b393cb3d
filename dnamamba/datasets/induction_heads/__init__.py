"""Symbols that followed a marker, made as they are read."""

from typing import Any

from dnamamba.datasets.induction_heads.config import InductionHeadsConfig

__all__ = ["InductionHeadsConfig", "InductionHeadsData"]


def __getattr__(name: str) -> Any:
    """Import the data set when it is asked for: it needs torch, and its settings don't."""
    if name != "InductionHeadsData":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dnamamba.datasets.induction_heads.data import InductionHeadsData

    return InductionHeadsData
