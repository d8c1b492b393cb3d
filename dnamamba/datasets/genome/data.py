"""A genome as training, validation and test batches, and what Markov models make of the same windows."""

import hashlib
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_FASTA
from dnamamba.data.epochs import Edge, EpochWindows, Overlap
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import joined, past_the_end, without_n
from dnamamba.data.length_schedule import LengthSchedule, Stage, rows_at_a_time
from dnamamba.data.loader import Batch, TiledWindows, WindowStream
from dnamamba.data.records import WholeRecords
from dnamamba.data.sampling import (
    RandomWindows,
    Windows,
    WindowSampler,
    named,
    record_names,
    tiled_windows,
)
from dnamamba.data.stateless import Int64s
from dnamamba.data.synonyms import Synonyms
from dnamamba.datasets.base import HELD_OUT, DataModule, Steps
from dnamamba.datasets.genome.baselines import Baselines
from dnamamba.datasets.genome.config import GenomeConfig
from dnamamba.errors import UserError


class GenomeData(DataModule):
    """Training windows of a genome, stage by stage, and tiles of what it holds out.

    With `data.intervals`, the windows of a stage are `EpochWindows` of the training intervals; without, they
    are `RandomWindows` of the training records. Held out are windows of `data.max_length` in every stage, so
    that a validation curve is of the same bases throughout. With `data.max_length=chromosome`, training and
    held-out samples are `WholeRecords`.

    Args:
        config: the `data` group.
        seed: of the sampling.
        global_batch_size: windows of `data.max_length` an optimiser step.
        max_steps: optimiser steps of the run; None ends it with its last stage.
        world_size: number of processes.

    Raises:
        UserError: the FASTA, the intervals, the choice of records or the batches can't be used.
    """

    config_class = GenomeConfig

    def __init__(self, config: GenomeConfig, seed: int, **steps: Unpack[Steps]) -> None:
        super().__init__(config, seed, **steps)
        self.config = config
        self.alphabet = get_alphabet(config.alphabet)
        self.genome = Genome(
            YEAST_FASTA if config.fasta is None else config.fasta, self.alphabet, "set data.alphabet=bytes"
        )
        self.genome.close(config.circular, "data.circular")
        self._synonyms = Synonyms(self.genome.lengths)
        self.splits = config.splits(self.genome.lengths, self._synonyms)
        self._need_training_circles()
        self.schedule: LengthSchedule = config.schedule(
            **steps,
            splits=lambda: self.splits,
            samples_per_epoch=partial(config.samples_per_epoch, self.splits),
        )
        self.genome.load(record_names(interval for split in self.splits for interval in split))
        # Stages of one seed would draw their samples in one order where they have equally many.
        self.windows = [self._sampler(stage, seed + (stage.number << 32)) for stage in self.schedule.stages]
        self.held_out = {split: joined(getattr(self.splits, split)) for split in HELD_OUT}
        orders = config.markov_orders if config.alphabet == "dna" else []
        self._markov = Baselines(self.genome, self.splits.train, orders)
        self.tiles = {split: self._scored_tiles(split) for split in HELD_OUT}

    @property
    def label(self) -> str:
        """What to call the genome in a title."""
        return "yeast" if self.config.fasta is None else Path(self.config.fasta).name

    @property
    def summary(self) -> str:
        """The genome and its splits, in a line."""
        splits = "; ".join(
            f"{split} {sum(interval.length for interval in intervals):,} bases ({named(intervals)})"
            for split, intervals in self.splits._asdict().items()
            if intervals
        )
        last = self.windows[-1]
        if isinstance(last, EpochWindows) and last.held_out.samples:
            kept = "left out" if self.config.overlap == "exclude" else "read all the same: data.overlap"
            splits += (
                f"; {last.held_out.samples:,} windows of {last.length:,} bases reach into held-out "
                f"intervals ({kept})"
            )
        return splits

    @property
    def notes(self) -> tuple[str, ...]:
        """Names that were matched with records of other names."""
        return tuple(self._synonyms.said())

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must find again: the records and their bases, and how they are split."""
        digest = hashlib.sha256()
        read = {interval.name for intervals in self.splits for interval in intervals}
        for name, length in self.genome.lengths.items():
            checksum = zlib.crc32(self.genome.fetch(name).data) if name in read else 0
            digest.update(f"{name}\t{length}\t{checksum}\n".encode())
        for split, intervals in self.splits._asdict().items():
            digest.update(f"{split}\t{[tuple(interval) for interval in intervals]}\n".encode())
        lengths = self.genome.lengths
        return {"records": len(lengths), "bases": sum(lengths.values()), "split": digest.hexdigest()[:16]}

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Return the regions of a step's training samples, by their numbers."""
        windows = self.windows[self.schedule.stage_at(step).number]
        return windows.draw(index).regions(windows.names)

    def micro_batch(self, batch: Batch) -> int:
        """Return how many training windows a device takes at a time: the same bases at every length."""
        length = batch["tokens"].shape[1] - 1
        config = self.config
        longest = length if config.whole_records else config.max_length
        return rows_at_a_time(config.windows_at_a_time, longest, length, self.chunk)

    def train_dataloader(self) -> DataLoader:
        """Return the stream of training batches, a step each, from the step that the trainer has come to."""
        rank, world_size, step = self.place()
        stream = WindowStream(
            self.genome, self.schedule, self.windows, rank=rank, world_size=world_size, start_step=step
        )
        return self.loader(stream, self.config.num_workers)

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Return evenly spaced windows of the validation records, for validation during training."""
        return self._held_out_loader("valid", self._watched()) if self.tiles["valid"].start.size else []

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Yield every window of every split that is held out."""
        for split, tiles in self.tiles.items():
            if tiles.start.size:
                yield split, self._held_out_loader(split, tiles)

    def baselines(self, split: str, *, watched: bool = False) -> dict[int, float]:
        """Return the bits per base of each Markov order on a split's windows, or those scored in training."""
        tiles = self._watched() if watched else self.tiles[split]
        names = record_names(self.held_out[split])
        return self._markov.bits(names, tiles, self._tile_length(split), self.console)

    def _sampler(self, stage: Stage, seed: int) -> WindowSampler:
        config = self.config
        if config.whole_records:
            return WholeRecords(self.splits.train, seed, config.reverse_complement)
        if config.intervals is None:
            intervals = without_n(self.splits.train, self.genome, stage.length)
            intervals = past_the_end(intervals, self.genome, stage.length)
            return RandomWindows(intervals, stage.length, seed, config.reverse_complement)
        return EpochWindows(
            self.splits.train,
            stage.length,
            seed,
            reverse_complement=config.reverse_complement,
            lengths=self.genome.lengths,
            not_for_training=(*self.splits.valid, *self.splits.test),
            edge=cast(Edge, config.edge),
            overlap=cast(Overlap, config.overlap),
        )

    def _need_training_circles(self) -> None:
        """Refuse a circular record that does not train whole.

        Raises:
            UserError: naming it.
        """
        whole = {one.name for one in self.splits.train if one.length == self.genome.lengths[one.name]}
        for name in sorted(self.genome.circular - whole):
            raise UserError(
                f"data.circular: {name} is held out, in part or all of it, and is scored from its first base "
                f"to its last (got {name}); leave it out"
            )

    def _tile_length(self, split: str) -> int:
        """Return targets of a held-out window, at most."""
        if self.config.whole_records:
            return max((interval.length for interval in self.held_out[split]), default=1)
        return int(self.config.max_length)

    def _scored_tiles(self, split: str) -> Windows:
        """Return tiles of a held-out split, those with nothing but N left out."""
        intervals = self.held_out[split]
        tiles = tiled_windows(intervals, self._tile_length(split))
        scored = self.alphabet.scored
        names = record_names(intervals)
        keep = [
            bool(scored[self.genome.fetch(names[record], start + 1, start + length)].any())
            for record, start, length in zip(*(column.tolist() for column in tiles[:3]), strict=True)
        ]
        return tiles.take(np.flatnonzero(keep))

    def _watched(self) -> Windows:
        tiles = self.tiles["valid"]
        number = min(self.config.windows_watched, tiles.start.size)
        return tiles.take(np.linspace(0, tiles.start.size - 1, number).astype(np.int64))

    def _held_out_loader(self, split: str, tiles: Windows) -> DataLoader:
        rank, world_size, _ = self.place()
        windows = TiledWindows(
            self.genome,
            record_names(self.held_out[split]),
            tiles,
            None if self.config.whole_records else self.config.max_length,
            batch_size=self.config.windows_at_a_time,
            rank=rank,
            world_size=world_size,
        )
        return self.loader(windows, self.config.num_workers)


GenomeConfig.module = GenomeData
