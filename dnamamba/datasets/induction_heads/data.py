"""The data set of induction heads."""

from dnamamba.datasets.induction_heads.config import InductionHeadsConfig
from dnamamba.datasets.synthetic import SyntheticData


class InductionHeadsData(SyntheticData):
    """Induction heads; see `SyntheticData`."""

    config_class = InductionHeadsConfig
    name = "induction heads"


InductionHeadsConfig.module = InductionHeadsData
