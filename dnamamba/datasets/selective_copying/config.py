"""The settings of selective copying."""

from dataclasses import dataclass

from dnamamba.data.synthetic import SelectiveCopying
from dnamamba.datasets.synthetic_settings import SyntheticConfig
from dnamamba.errors import UserError


@dataclass(frozen=True)
class SelectiveCopyingConfig(SyntheticConfig):
    """The `data` group of selective copying; conf/data/selective_copying.yaml explains each key.

    Raises:
        UserError: a number is out of range; the message names it.
    """

    max_length: int = 4096
    data_symbols: int = 16

    def __post_init__(self) -> None:
        if self.data_symbols < 1:
            raise UserError(f"data.data_symbols: must be at least 1 (got {self.data_symbols})")
        super().__post_init__()

    def task(self, length: int) -> SelectiveCopying:
        """Return the task at a length."""
        return SelectiveCopying(length, self.data_symbols, self.vocabulary)
