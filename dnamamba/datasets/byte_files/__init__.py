"""Text and sound: windows of bytes."""

from dnamamba.datasets.byte_files.config import BytesConfig
from dnamamba.datasets.byte_files.data import BytesData

__all__ = ["BytesConfig", "BytesData"]
