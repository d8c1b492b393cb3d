"""The settings of a genome's windows, and the stages that they make of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dnamamba.data.embedded import YEAST_TEST, YEAST_VALID
from dnamamba.data.epochs import samples_of
from dnamamba.data.hg38 import read_split_intervals
from dnamamba.data.intervals import Splits, split_records
from dnamamba.data.length_schedule import LengthSchedule, doublings, length_schedule, micro_batches
from dnamamba.errors import UserError


@dataclass  # OmegaConf cannot fill a frozen one that lies within another
class LengthWarmup:
    """`data.length_warmup`: stages of growing length before `data.max_length`."""

    first_length: int | None
    epochs: float | None
    steps: Any  # int, a list of them, or None: OmegaConf has no such union


@dataclass(frozen=True)
class GenomeConfig:
    """The `data` group of a configuration; conf/data/genome.yaml explains each key.

    Raises:
        UserError: a number is out of range, or two settings exclude each other; the message names them.
    """

    fasta: str | None
    intervals: str | None
    alphabet: str
    max_length: int
    length_warmup: LengthWarmup
    batch_size: int
    reverse_complement: bool
    edge: str
    overlap: str
    valid: list[str] | None
    test: list[str] | None
    valid_windows: int
    num_workers: int
    markov_orders: list[int]

    def __post_init__(self) -> None:
        for key, least in (("max_length", 1), ("batch_size", 1), ("valid_windows", 1), ("num_workers", 0)):
            if getattr(self, key) < least:
                raise UserError(f"data.{key} must be at least {least}, not {getattr(self, key)}")
        steps = self.length_warmup.steps
        for number in steps if isinstance(steps, list) else [steps]:
            if type(number) is not int and steps is not None:
                raise UserError(
                    f"data.length_warmup.steps must be a whole number or a list of them, not {number!r}"
                )
        for order in self.markov_orders:
            if not 0 <= order <= 12:
                raise UserError(f"data.markov_orders must lie between 0 and 12, not {order}")
        if self.intervals is not None:
            if self.fasta is None:
                raise UserError("data.intervals is of a genome of your own: set data.fasta as well")
            if self.valid is not None or self.test is not None:
                raise UserError("data.intervals says what is held out: leave data.valid and data.test null")

    @property
    def lengths(self) -> tuple[int, ...]:
        """The window lengths of the stages.

        Raises:
            UserError: `max_length` is not the first length doubled some times.
        """
        first = self.length_warmup.first_length
        if first is None:
            return (self.max_length,)
        if first < 1:
            raise UserError(f"data.length_warmup.first_length must be at least 1, not {first}")
        try:
            return doublings(first, self.max_length)
        except UserError as error:
            raise UserError(f"data.max_length, data.length_warmup.first_length: {error}") from error

    @property
    def bases_at_a_time(self) -> int:
        """Targets of a micro-batch of one device, the same at every length."""
        return self.batch_size * self.max_length

    def splits(self, lengths: Mapping[str, int]) -> Splits:
        """What trains, validates and tests, of a genome with records of these lengths.

        Raises:
            UserError: the interval file or the choice of records can't be used.
        """
        if self.intervals is not None:
            return read_split_intervals(self.intervals, lengths)
        valid: Sequence[str] | None = self.valid
        test: Sequence[str] | None = self.test
        if self.fasta is None:
            valid = YEAST_VALID if valid is None else valid
            test = YEAST_TEST if test is None else test
        return split_records(lengths, valid=valid, test=test, window=self.max_length + 1)

    def samples_per_epoch(self, splits: Splits, length: int) -> int:
        """Those of the training intervals, or as many random windows as fit in the training records."""
        if self.intervals is not None:
            return sum(samples_of(interval.length, length) for interval in splits.train)
        return max(1, sum(interval.length for interval in splits.train) // length)

    def schedule(
        self,
        *,
        global_batch_size: int,
        max_steps: int | None,
        world_size: int,
        samples_per_epoch: Callable[[int], int],
    ) -> LengthSchedule:
        """The stages of a run, each of `global_batch_size` * `max_length` bases a step.

        Args:
            global_batch_size: windows of `max_length` a step.
            max_steps: the end of the run; None ends it with the last stage.
            world_size: number of processes.
            samples_per_epoch: of a length.

        Raises:
            UserError: numbers that do not divide, a duration that is missing or given twice.
        """
        together = self.batch_size * world_size
        if global_batch_size % together:
            raise UserError(
                f"train.global_batch_size={global_batch_size} is no multiple of data.batch_size="
                f"{self.batch_size} times {world_size} device(s) = {together}"
            )
        by_epochs = self.length_warmup.epochs is not None
        samples = {length: samples_per_epoch(length) for length in self.lengths if by_epochs}
        try:
            schedule = length_schedule(
                self.lengths,
                bases_per_step=global_batch_size * self.max_length,
                epochs=self.length_warmup.epochs,
                steps=self.length_warmup.steps,
                samples_per_epoch=samples.__getitem__,
                max_steps=max_steps,
            )
        except UserError as error:
            raise UserError(f"data.length_warmup, train.max_steps: {error}") from error
        for stage in schedule.stages:
            micro_batches(
                stage.sequences, stage.length, world_size=world_size, bases_at_a_time=self.bases_at_a_time
            )
        return schedule
