"""Numbers per bin of a genome, from bigWig and bedGraph."""

from typing import Any

from dnamamba.datasets.tracks.config import TracksConfig

__all__ = ["TracksConfig", "TracksData"]


def __getattr__(name: str) -> Any:
    """Import the data set when it is asked for: it needs torch, and its settings don't."""
    if name != "TracksData":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dnamamba.datasets.tracks.data import TracksData

    return TracksData
