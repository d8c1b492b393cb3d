"""Text and sound as training, validation and test batches."""

import hashlib
from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.byte_files import ByteFiles, split_files
from dnamamba.data.length_schedule import LengthSchedule, rows_at_a_time
from dnamamba.data.loader import Batch, TiledWindows, WindowStream
from dnamamba.data.sampling import RandomWindows, Windows, named, record_names, tiled_windows
from dnamamba.data.stateless import Int64s
from dnamamba.datasets.base import HELD_OUT, DataModule, Steps
from dnamamba.datasets.byte_files.config import BytesConfig


class BytesData(DataModule):
    """Windows of bytes, drawn uniformly over every start in the training files; held-out files are tiled.

    Args:
        config: the `data` group.
        seed: of the sampling.
        global_batch_size: windows per step.
        max_steps: of the run.
        world_size: number of processes.

    Raises:
        UserError: a file, a split or a number can't be used; the message names it.
    """

    config_class = BytesConfig

    def __init__(self, config: BytesConfig, seed: int, **steps: Unpack[Steps]) -> None:
        super().__init__(config, seed, **steps)
        self.config = config
        self.alphabet = get_alphabet(config.alphabet)
        self.schedule: LengthSchedule = config.planned(**steps)
        self.files = ByteFiles(config.path, self.alphabet, config.sample_rate)
        fractions = config.valid_fraction, config.test_fraction
        self.splits = split_files(self.files, config.valid, config.test, fractions)
        self.windows = RandomWindows(self.splits.train, config.max_length, seed, reverse_complement=False)
        self.tiles = {
            split: tiled_windows(getattr(self.splits, split), config.max_length) for split in HELD_OUT
        }

    @property
    def label(self) -> str:
        """What to call the files in a title."""
        return self.config.path.rstrip("/").rpartition("/")[2]

    @property
    def summary(self) -> str:
        """The files and their splits, in a line."""
        return "; ".join(
            f"{split} {sum(interval.length for interval in intervals):,} bytes ({named(intervals)})"
            for split, intervals in self.splits._asdict().items()
            if intervals
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Say how many training files are shorter than a window."""
        short = sum(interval.length <= self.config.max_length for interval in self.splits.train)
        least = self.config.max_length + 1
        return (
            (f"{short:,} training files have fewer than {least:,} bytes and are left out",) if short else ()
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must find again: the files' bytes, and how they are split."""
        digest = hashlib.sha256()
        for name, found in self.files.digests.items():
            digest.update(f"{name}\t{found}\n".encode())
        for split, intervals in self.splits._asdict().items():
            digest.update(f"{split}\t{[tuple(interval) for interval in intervals]}\n".encode())
        lengths = self.files.lengths
        return {"records": len(lengths), "bases": sum(lengths.values()), "split": digest.hexdigest()[:16]}

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Return places of a step's training windows, by their numbers."""
        return self.windows.draw(index).regions(self.windows.names)

    def micro_batch(self, batch: Batch) -> int:
        """Return how many windows a device takes at a time."""
        length = self.config.max_length
        return rows_at_a_time(self.config.batch_size, length, length, self.chunk)

    def train_dataloader(self) -> DataLoader:
        """Return the stream of training batches, from the step that the trainer has come to."""
        rank, world_size, step = self.place()
        stream = WindowStream(
            self.files, self.schedule, [self.windows], rank=rank, world_size=world_size, start_step=step
        )
        return self.loader(stream, self.config.num_workers)

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Return evenly spaced windows of the validation files, for validation during training."""
        tiles = self.tiles["valid"]
        number = min(self.config.valid_windows, tiles.start.size)
        watched = tiles.take(np.linspace(0, tiles.start.size - 1, number).astype(np.int64))
        return self._held_out_loader("valid", watched) if number else []

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Yield every window of every split that is held out."""
        for split, tiles in self.tiles.items():
            if tiles.start.size:
                yield split, self._held_out_loader(split, tiles)

    def _held_out_loader(self, split: str, tiles: Windows) -> DataLoader:
        rank, world_size, _ = self.place()
        windows = TiledWindows(
            self.files,
            record_names(getattr(self.splits, split)),
            tiles,
            self.config.max_length,
            batch_size=self.config.batch_size,
            rank=rank,
            world_size=world_size,
        )
        return self.loader(windows, self.config.num_workers)


BytesConfig.module = BytesData
