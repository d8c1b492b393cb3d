"""A user's own labelled sequences."""

from dnamamba.datasets.labelled.config import LabelledConfig
from dnamamba.datasets.labelled.data import LabelledData

__all__ = ["LabelledConfig", "LabelledData"]
