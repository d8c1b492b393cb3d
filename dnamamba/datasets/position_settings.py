"""The settings that data sets which ask something of every base or bin share."""

from typing import ClassVar

from dnamamba.data.length_schedule import LengthSchedule
from dnamamba.datasets.labelled.config import one_stage
from dnamamba.datasets.settings import DataConfig
from dnamamba.errors import UserError, missing


class PositionsConfig(DataConfig):
    """The settings that such data sets share; a subclass is a frozen dataclass with these fields."""

    free: ClassVar[tuple[str, ...]] = ("num_workers", "valid_windows")

    fasta: str | None
    alphabet: str | None
    max_length: int
    batch_size: int
    reverse_complement: bool
    valid: list[str] | None
    test: list[str] | None
    valid_windows: int
    num_workers: int

    @property
    def bin(self) -> int:
        """Bases that have an answer together."""
        raise missing(self, "bin")

    def check(self) -> None:
        """Check that the shared settings can be used.

        Raises:
            UserError: one can't; the message names it.
        """
        for key, least in (("max_length", 1), ("batch_size", 1), ("valid_windows", 1), ("num_workers", 0)):
            if getattr(self, key) < least:
                raise UserError(f"data.{key}: must be at least {least} (got {getattr(self, key)})")
        if self.max_length % self.bin:
            raise UserError(
                f"data.max_length: a window is not a whole number of bins of {self.bin} bases (got "
                f"{self.max_length}); set a multiple"
            )

    @property
    def bases_at_a_time(self) -> int:
        """`batch_size` windows."""
        return self.batch_size * self.max_length

    def planned(
        self, *, global_batch_size: int, max_steps: int | None, world_size: int, training_segments: int
    ) -> LengthSchedule:
        """Return one stage, of windows of `max_length`."""
        return one_stage(self.max_length, global_batch_size, max_steps)
