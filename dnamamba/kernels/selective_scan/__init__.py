"""The selective scan of Mamba."""

from .api import Scan, selective_scan

__all__ = ["Scan", "selective_scan"]
