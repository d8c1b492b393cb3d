"""The settings of a genome's windows, and the stages that they make of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from dnamamba.data.aliases import with_aliases
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.bases import windows_of
from dnamamba.data.embedded import YEAST_FASTA, YEAST_TEST, YEAST_VALID
from dnamamba.data.epochs import samples_of
from dnamamba.data.fai import fai_lengths
from dnamamba.data.fasta import Genome
from dnamamba.data.hg38 import SEGMENT_LENGTH, read_split_intervals
from dnamamba.data.intervals import Splits, split_records, unknown_record
from dnamamba.data.length_schedule import LengthSchedule, Stage, doublings, length_schedule, micro_batches
from dnamamba.data.synonyms import Synonyms
from dnamamba.datasets.settings import DataConfig
from dnamamba.errors import UserError

CHROMOSOME = "chromosome"


@dataclass  # OmegaConf cannot fill a frozen one that lies within another
class LengthWarmup:
    """`data.length_warmup`: stages of growing length before `data.max_length`."""

    first_length: int | None = None
    epochs: float | None = None
    steps: Any = None  # int, a list of them, or None: OmegaConf has no such union


@dataclass(frozen=True)
class GenomeConfig(DataConfig):
    """The `data` group of a configuration; conf/data/genome.yaml explains each key.

    Raises:
        UserError: a number is out of range, or two settings exclude each other; the message names them.
    """

    # The bases of the genome and their splits are in the identity of the data.
    free: ClassVar[tuple[str, ...]] = (
        "fasta",
        "intervals",
        "alphabet",
        "train",
        "valid",
        "test",
        "valid_windows",
        "valid_bases",
        "bases_per_batch",
        "num_workers",
        "markov_orders",
    )

    paths: ClassVar[tuple[str, ...]] = ("fasta", "intervals")

    fasta: str | None = None
    intervals: str | None = None
    alphabet: str = "dna"
    max_length: Any = 512  # int or chromosome: OmegaConf has no such union
    length_warmup: LengthWarmup = field(default_factory=LengthWarmup)
    batch_size: int | None = None
    bases_per_batch: int | None = None
    reverse_complement: bool = True
    edge: str = "shift"
    overlap: str = "report"
    circular: list[str] = field(default_factory=list)
    train: list[str] | None = None
    valid: list[str] | None = None
    test: list[str] | None = None
    valid_windows: int | None = None
    valid_bases: int | None = None
    num_workers: int = 0
    markov_orders: list[int] = field(default_factory=lambda: [0, 2, 4, 8])

    def __post_init__(self) -> None:
        if self.whole_records:
            self._check_whole_records()
        elif type(self.max_length) is not int:
            raise UserError(
                "data.max_length: expected a number of bases or chromosome, where a record is a sample (got "
                f"{self.max_length!r}); set one of them"
            )
        for key, least in (("max_length", 1), ("num_workers", 0)):
            if getattr(self, key) != CHROMOSOME and getattr(self, key) < least:
                raise UserError(f"data.{key}: must be at least {least} (got {getattr(self, key)})")
        for windows, bases, default in (
            ("batch_size", "bases_per_batch", 16),
            ("valid_windows", "valid_bases", 128),
        ):
            given = getattr(self, windows), getattr(self, bases)
            length = 1 if self.whole_records else self.max_length
            number = windows_of(*given, length, default, (f"data.{windows}", f"data.{bases}"))
            object.__setattr__(self, windows, number)  # the dataclass is frozen
        steps = self.length_warmup.steps
        for number in steps if isinstance(steps, list) else [steps]:
            if type(number) is not int and steps is not None:
                raise UserError(
                    f"data.length_warmup.steps: must be a whole number or a list of them (got {number!r})"
                )
        for order in self.markov_orders:
            if not 0 <= order <= 12:
                raise UserError(f"data.markov_orders: must lie between 0 and 12 (got {order})")
        if self.intervals is not None:
            if self.fasta is None:
                raise UserError("data.intervals is of a genome of your own: set data.fasta as well")
            if self.valid is not None or self.test is not None:
                raise UserError("data.intervals says what is held out: leave data.valid and data.test null")
            if self.train is not None:
                raise UserError("data.intervals says what trains: leave data.train null")
            if self.circular:
                raise UserError(
                    "data.circular: training windows lie within data.intervals, which end with their record "
                    f"(got {', '.join(self.circular)}); leave it out"
                )

    def _check_whole_records(self) -> None:
        """Refuse settings that only windows have."""
        for key, value in (
            ("intervals", self.intervals),
            ("length_warmup.first_length", self.length_warmup.first_length),
            ("bases_per_batch", self.bases_per_batch),
            ("valid_bases", self.valid_bases),
            ("circular", self.circular or None),
        ):
            if value is not None:
                raise UserError(
                    f"data.{key}: with data.max_length=chromosome a sample is a whole record (got {value}); "
                    "leave it null"
                )

    @property
    def whole_records(self) -> bool:
        """Whether a sample is a whole record."""
        return bool(self.max_length == CHROMOSOME)

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
            raise UserError(f"data.length_warmup.first_length: must be at least 1 (got {first})")
        try:
            return doublings(first, self.max_length)
        except UserError as error:
            raise UserError(f"data.max_length, data.length_warmup.first_length: {error}") from error

    @property
    def bases_at_a_time(self) -> int:
        """Targets of a micro-batch of one device, the same at every length."""
        if self.whole_records:
            return self.windows_at_a_time * max(sample_lengths(self.splits(self._index())))
        return int(self.windows_at_a_time * self.max_length)

    @property
    def windows_at_a_time(self) -> int:
        """`batch_size`, in whichever unit it was given."""
        assert self.batch_size is not None  # __post_init__ has set it
        return self.batch_size

    @property
    def windows_watched(self) -> int:
        """`valid_windows`, in whichever unit it was given."""
        assert self.valid_windows is not None
        return self.valid_windows

    def splits(self, lengths: Mapping[str, int], synonyms: Synonyms | None = None) -> Splits:
        """Choose the training, validation and test records, from the records' lengths.

        Args:
            lengths: bases of each record.
            synonyms: finds the record that a name means, and can say so; None: any synonym is taken.

        Raises:
            UserError: the interval file or the choice of records can't be used.
        """
        if self.intervals is not None:
            return read_split_intervals(self.intervals, lengths, synonyms)
        synonyms = synonyms or Synonyms(lengths)
        train, valid, test = (
            None if names is None else synonyms.records_of(names)
            for names in (self.train, self.valid, self.test)
        )
        if self.fasta is None:
            valid = list(YEAST_VALID) if valid is None else valid
            test = list(YEAST_TEST) if test is None else test
        if train is not None:
            for name in train:
                if name not in lengths:
                    raise UserError(f"data.train: {unknown_record(name, lengths)}")
            # What nobody names is left out: nothing of the training records is held out unasked.
            valid, test = valid or [], test or []
            named = {*train, *valid, *test}
            both = sorted({*train} & {*valid, *test})
            if both:
                raise UserError(
                    f"data.train: a record trains or is held out (got {', '.join(both)} in data.valid or "
                    "data.test too); name it in one of them"
                )
            lengths = {name: length for name, length in lengths.items() if name in named}
        window = 2 if self.whole_records else self.max_length + 1
        return split_records(lengths, valid=valid, test=test, window=window)

    def samples_per_epoch(self, splits: Splits, length: int) -> int:
        """Count the training intervals' samples, or the windows that fit in the training records."""
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
        splits: Callable[[], Splits] | None = None,
    ) -> LengthSchedule:
        """Return the stages, each of `global_batch_size` * `max_length` bases per step; or one of records.

        Args:
            global_batch_size: windows of `max_length`, or records, per step.
            max_steps: the end of the run; None ends it with the last stage.
            world_size: number of processes.
            samples_per_epoch: of a length; asked for windows only.
            splits: what trains; needed and asked for whole records only.

        Raises:
            UserError: numbers that do not divide, a duration that is missing or given twice.
        """
        together = self.windows_at_a_time * world_size
        if global_batch_size % together:
            raise UserError(
                f"train.global_batch_size={global_batch_size} is not a multiple of data.batch_size="
                f"{self.windows_at_a_time} times {world_size} device(s) = {together}"
            )
        if self.whole_records:
            assert splits is not None, "whole records need splits"
            return _schedule_of_records(sample_lengths(splits()), global_batch_size, max_steps)
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

    def planned(
        self, *, global_batch_size: int, max_steps: int | None, world_size: int, training_segments: int
    ) -> LengthSchedule:
        """Return the stages of a run, with no more of the genome than an index or an interval file.

        Args:
            global_batch_size, max_steps, world_size: as in `build`.
            training_segments: of 2^17 bases, for an interval file that is missing.
        """
        return self.schedule(
            global_batch_size=global_batch_size,
            max_steps=max_steps,
            world_size=world_size,
            splits=lambda: self.splits(self._index()),
            samples_per_epoch=partial(self._planned_samples, training_segments),
        )

    def _planned_samples(self, segments: int, length: int) -> int:
        """Count the samples of an epoch, by the interval file, the FASTA's index or a number of segments."""
        if self.intervals is not None:
            if not Path(self.intervals).expanduser().is_file():
                return segments * samples_of(SEGMENT_LENGTH, length)
            return self.samples_per_epoch(read_split_intervals(self.intervals), length)
        return self.samples_per_epoch(self.splits(self._index()), length)

    def _index(self) -> Mapping[str, int]:
        """Return the bases of each record: by the FASTA's index, or by the FASTA where there is none.

        Raises:
            UserError: there is neither.
        """
        fasta = Path(YEAST_FASTA if self.fasta is None else self.fasta).expanduser()
        index = fasta.with_name(f"{fasta.name}.fai")
        if self.fasta is None:
            return Genome(fasta, get_alphabet(self.alphabet)).lengths
        if index.is_file():
            return with_aliases(fai_lengths(index), fasta)
        if fasta.is_file():
            return Genome(fasta, get_alphabet(self.alphabet)).lengths
        if self.whole_records:
            raise UserError(
                f"{index} is not there, and samples are as long as its records; make it with `samtools faidx "
                f"{fasta}`"
            )
        raise UserError(
            f"{index} is not there, and an epoch is as long as the genome: make it with `samtools faidx "
            f"{fasta}`, or set data.length_warmup.steps in place of epochs"
        )


def sample_lengths(splits: Splits) -> list[int]:
    """Return the targets of each training sample where whole records are samples, at least one.

    Raises:
        UserError: no record has two bases.
    """
    lengths = [interval.length - 1 for interval in splits.train if interval.length > 1]
    if not lengths:
        raise UserError("data.max_length=chromosome: no training record has two bases; give another FASTA")
    return lengths


def _schedule_of_records(lengths: Sequence[int], sequences: int, max_steps: int | None) -> LengthSchedule:
    """Return one stage of whole records with these numbers of targets."""
    if max_steps is None:
        raise UserError(
            "train.max_steps: whole records are read again and again (got null); set a number of steps"
        )
    mean = sum(lengths) / len(lengths)
    return LengthSchedule((Stage(0, max(lengths), sequences, 0, max_steps, mean),))
