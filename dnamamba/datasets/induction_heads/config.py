"""The settings of induction heads."""

from dataclasses import dataclass

from dnamamba.data.synthetic import InductionHeads
from dnamamba.datasets.synthetic_settings import SyntheticConfig


@dataclass(frozen=True)
class InductionHeadsConfig(SyntheticConfig):
    """The `data` group of induction heads; conf/data/induction_heads.yaml explains each key.

    Raises:
        UserError: a number is out of range; the message names it.
    """

    batch_size: int = 8

    def task(self, length: int) -> InductionHeads:
        """Return the task at a length."""
        return InductionHeads(length, self.vocabulary)
