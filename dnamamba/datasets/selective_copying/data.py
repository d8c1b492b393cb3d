"""The data set of selective copying."""

from dnamamba.datasets.selective_copying.config import SelectiveCopyingConfig
from dnamamba.datasets.synthetic import SyntheticData


class SelectiveCopyingData(SyntheticData):
    """Selective copying; see `SyntheticData`."""

    config_class = SelectiveCopyingConfig
    name = "selective copying"


SelectiveCopyingConfig.module = SelectiveCopyingData
