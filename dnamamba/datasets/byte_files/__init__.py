"""Text and sound: windows of bytes."""

from typing import Any

from dnamamba.datasets.byte_files.config import BytesConfig

__all__ = ["BytesConfig", "BytesData"]


def __getattr__(name: str) -> Any:
    """Import the data set when it is asked for: it needs torch, and its settings don't."""
    if name != "BytesData":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dnamamba.datasets.byte_files.data import BytesData

    return BytesData
