"""Windows of several genomes, labelled by species."""

from typing import Any

from dnamamba.datasets.species.config import SpeciesConfig

__all__ = ["SpeciesConfig", "SpeciesData"]


def __getattr__(name: str) -> Any:
    """Import the data set when it is asked for: it needs torch, and its settings don't."""
    if name != "SpeciesData":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dnamamba.datasets.species.data import SpeciesData

    return SpeciesData
