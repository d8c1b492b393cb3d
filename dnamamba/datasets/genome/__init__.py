"""Windows of one genome."""

from typing import Any

from dnamamba.datasets.genome.config import GenomeConfig

__all__ = ["GenomeConfig", "GenomeData"]


def __getattr__(name: str) -> Any:
    """Import the data set when it is asked for: it needs torch, and its settings don't."""
    if name != "GenomeData":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dnamamba.datasets.genome.data import GenomeData

    return GenomeData
