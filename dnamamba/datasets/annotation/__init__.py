"""A class for every base, from annotated features."""

from typing import Any

from dnamamba.datasets.annotation.config import AnnotationConfig

__all__ = ["AnnotationConfig", "AnnotationData"]


def __getattr__(name: str) -> Any:
    """Import the data set when it is asked for: it needs torch, and its settings don't."""
    if name != "AnnotationData":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dnamamba.datasets.annotation.data import AnnotationData

    return AnnotationData
