"""What the data sets that ask something of every base or bin have in common: windows, splits, loaders."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_FASTA, YEAST_TEST, YEAST_VALID
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval, Splits, split_records, without_n
from dnamamba.data.position_windows import (
    Batch,
    IntervalSet,
    PositionStream,
    Targets,
    WindowSet,
    aligned,
    drawn,
)
from dnamamba.data.sampling import RandomWindows, named
from dnamamba.data.stateless import Int64s
from dnamamba.data.synonyms import Synonyms
from dnamamba.datasets.base import HELD_OUT, DataModule, Steps
from dnamamba.datasets.labelled.config import one_stage
from dnamamba.datasets.settings import check_shares
from dnamamba.errors import UserError, missing
from dnamamba.models import PositionConfig, PositionModel


class PositionsData(DataModule):
    """Random windows to train on, whole held-out records to test on.

    A subclass says what is asked (`targets_of`, `question`). Arguments and errors as of `DataModule`.
    """

    def __init__(self, config: Any, seed: int, **steps: Unpack[Steps]) -> None:
        super().__init__(config, seed, **steps)
        check_shares(steps["global_batch_size"], steps["world_size"])
        assert config.alphabet is not None
        self.config, self.seed = config, seed
        self.reverse_complement = config.reverse_complement
        self.alphabet = get_alphabet(config.alphabet)
        self.genome = Genome(YEAST_FASTA if config.fasta is None else config.fasta, self.alphabet)
        self.schedule = one_stage(config.max_length, steps["global_batch_size"], steps["max_steps"])
        own = config.fasta is None and config.valid is None and config.test is None
        self.synonyms = Synonyms(self.genome.lengths)
        valid, test = (
            None if names is None else self.synonyms.records_of(names)
            for names in (config.valid, config.test)
        )
        splits: Splits = split_records(
            self.genome.lengths,
            valid=YEAST_VALID if own else valid,
            test=YEAST_TEST if own else test,
            window=config.max_length,
        )
        self.splits = Splits(*(aligned(part, config.bin) for part in splits))
        for split in HELD_OUT:
            if not getattr(self.splits, split):
                raise UserError(f"data.{split}: nothing is held out for it; name records, such as [chr1]")
        self.genome.load()
        self.targets: Targets = self.targets_of()
        intervals = without_n(self.splits.train, self.genome, config.max_length)
        self.sampler = RandomWindows(
            intervals, config.max_length - 1, seed, reverse_complement=config.reverse_complement
        )

    def targets_of(self) -> Targets:
        """Return the targets of `self.genome`; called once."""
        raise missing(self, "targets_of")

    def question(self, context: str, conv: int) -> PositionConfig:
        """Return the head's configuration, with these settings of the `decoder` group."""
        raise missing(self, "question")

    def begin(self, model: PositionModel) -> None:
        """Give weights that are not drawn what the training data say of them."""

    @property
    def label(self) -> str:
        """The name of the genome's file."""
        return "yeast" if self.config.fasta is None else Path(self.config.fasta).name

    @property
    def summary(self) -> str:
        """Bases of each split and how they are read."""
        splits = "; ".join(
            f"{split} {sum(one.length for one in intervals):,} bases ({named(intervals)})"
            for split, intervals in self.splits._asdict().items()
        )
        return f"windows of {self.config.max_length:,} bases; {splits}"

    @property
    def identity(self) -> dict[str, Any]:
        """The bases, what is asked of them, and how they are split."""
        digest = hashlib.sha256(str(self.splits).encode())
        for name in self.genome.lengths:
            digest.update(self.genome.fetch(name).data)
            digest.update(np.ascontiguousarray(self.targets.values[name]).data)
        lengths = self.genome.lengths
        return {"records": len(lengths), "bases": sum(lengths.values()), "split": digest.hexdigest()[:16]}

    @property
    def training_sequences(self) -> int:
        """Windows that cover the training split once; they are drawn at random."""
        return max(1, self.training_bases // self.config.max_length)

    @property
    def training_bases(self) -> int:
        """Of the training split."""
        return sum(one.length for one in self.splits.train)

    def run_for(self, steps: int) -> None:
        """See `DataModule.run_for`."""
        self.schedule = one_stage(self.config.max_length, self.schedule.stages[0].sequences, steps)

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Return the regions of a step's training samples, by their numbers."""
        return drawn(self.sampler, self.targets.bin, index).regions(self.sampler.names)

    def intervals(self, split: str) -> tuple[Interval, ...]:
        """Return the intervals held out for `valid` or `test`, in the order of their batches' numbers."""
        return getattr(self.splits, split)

    def micro_batch(self, batch: Batch) -> int:
        """Return `data.batch_size`."""
        return self.config.batch_size

    def train_dataloader(self) -> DataLoader:
        """Return the stream of training batches, a step each, from the step that the trainer has come to."""
        rank, world_size, step = self.place()
        stream = PositionStream(
            self.genome,
            self.targets,
            self.sampler,
            self.schedule.stages[0],
            rank=rank,
            world_size=world_size,
            start_step=step,
        )
        return self.loader(stream, self.config.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Return evenly spaced windows for validation during training; short records are read whole."""
        rank, world_size, _ = self.place()
        if all(one.length < self.config.max_length for one in self.splits.valid):
            return self._whole("valid")
        windows = WindowSet(
            self.genome,
            self.targets,
            self.splits.valid,
            self.config.max_length,
            most=self.config.valid_windows,
            batch_size=self.config.batch_size,
            rank=rank,
            world_size=world_size,
        )
        return self.loader(windows, self.config.num_workers)

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Yield every held-out record, whole."""
        for split in HELD_OUT:
            yield split, self._whole(split)

    def _whole(self, split: str) -> DataLoader:
        rank, world_size, _ = self.place()
        records = IntervalSet(
            self.genome, self.targets, self.intervals(split), rank=rank, world_size=world_size
        )
        return self.loader(records, self.config.num_workers)
