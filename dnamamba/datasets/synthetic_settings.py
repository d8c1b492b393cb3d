"""The settings that all synthetic tasks have."""

from dataclasses import dataclass, field
from typing import ClassVar

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.length_schedule import LengthSchedule
from dnamamba.data.synthetic import Task
from dnamamba.datasets.settings import DataConfig, check_at_least, endless_stage
from dnamamba.datasets.warmup import SequenceWarmup
from dnamamba.errors import UserError, missing

LONGEST = 1 << 24


@dataclass(frozen=True)
class SyntheticConfig(DataConfig):
    """The `data` group of a task; conf/data/induction_heads.yaml explains each key.

    Raises:
        UserError: a number is out of range; the message names it.
    """

    free: ClassVar[tuple[str, ...]] = (
        "batch_size",
        "valid_examples",
        "test_examples",
        "test_lengths",
        "num_workers",
    )

    alphabet: str | None = "symbols"
    max_length: int = 256
    length_warmup: SequenceWarmup = field(default_factory=SequenceWarmup)
    vocabulary: int = 16
    batch_size: int = 64
    valid_examples: int = 256
    test_examples: int = 256
    test_lengths: list[int] | None = None
    num_workers: int = 0

    def __post_init__(self) -> None:
        most = get_alphabet("symbols").size
        if not 3 <= self.vocabulary <= most:
            raise UserError(f"data.vocabulary: must lie between 3 and {most} (got {self.vocabulary})")
        check_at_least(self, batch_size=1, valid_examples=1, test_examples=1, num_workers=0)
        self._check_length("max_length", self.max_length)
        self.length_warmup.check(self.task(self.max_length).least)
        for length in self.test_lengths or ():
            self._check_length("test_lengths", length)
            if length & (length - 1):
                raise UserError(f"data.test_lengths: expected powers of two (got {length}); leave it out")
        if self.test_lengths is not None and len({*self.test_lengths}) != len(self.test_lengths):
            raise UserError(
                f"data.test_lengths: a length stands twice (got {self.test_lengths}); name it once"
            )

    def _check_length(self, key: str, length: int) -> None:
        least = self.task(length).least
        if not least <= length <= LONGEST:
            raise UserError(f"data.{key}: must lie between {least} and {LONGEST} (got {length})")

    def task(self, length: int) -> Task:
        """Return the task at a length."""
        raise missing(self, "task")

    @property
    def scored_lengths(self) -> list[int]:
        """The lengths of the test."""
        return [self.max_length] if self.test_lengths is None else self.test_lengths

    @property
    def bases_at_a_time(self) -> int:
        """`batch_size` sequences."""
        return self.batch_size * self.max_length

    def planned(
        self, *, global_batch_size: int, max_steps: int | None, world_size: int, training_segments: int = 0
    ) -> LengthSchedule:
        """Return the stages. See `DataConfig.planned`.

        Raises:
            UserError: numbers that do not go together.
        """
        endless = "examples are made without end"
        only = endless_stage(self.max_length, global_batch_size, max_steps, world_size, endless)
        if self.length_warmup.first_length is None:
            return only
        return self.length_warmup.stages(
            self.max_length, sequences=global_batch_size, max_steps=only.max_steps
        )
