"""Tasks that are made as they are read: selective copying and induction heads."""

from dnamamba.datasets.synthetic.config import InductionHeadsConfig, SelectiveCopyingConfig
from dnamamba.datasets.synthetic.data import InductionHeadsData, SelectiveCopyingData

__all__ = ["InductionHeadsConfig", "InductionHeadsData", "SelectiveCopyingConfig", "SelectiveCopyingData"]
