"""A genome as training, validation and test batches, and what Markov models make of the same windows."""

import hashlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_FASTA, YEAST_TEST, YEAST_VALID
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval, split_records, without_n
from dnamamba.data.loader import TiledWindows, WindowStream
from dnamamba.data.markov import MarkovModel
from dnamamba.data.sampling import RandomWindows, Windows, gather, record_names, tiled_windows
from dnamamba.errors import UserError

HELD_OUT = ("valid", "test")


@dataclass(frozen=True)
class GenomeConfig:
    """The `data` group of a configuration; conf/data/genome.yaml explains each key.

    Raises:
        UserError: a number is out of range; the message names its key.
    """

    fasta: str | None
    alphabet: str
    max_length: int
    batch_size: int
    reverse_complement: bool
    valid: list[str] | None
    test: list[str] | None
    valid_windows: int
    num_workers: int
    markov_orders: list[int]

    def __post_init__(self) -> None:
        for key, least in (("max_length", 1), ("batch_size", 1), ("valid_windows", 1), ("num_workers", 0)):
            if getattr(self, key) < least:
                raise UserError(f"data.{key} must be at least {least}, not {getattr(self, key)}")
        for order in self.markov_orders:
            if not 0 <= order <= 12:
                raise UserError(f"data.markov_orders must lie between 0 and 12, not {order}")


class GenomeData(lightning.LightningDataModule):
    """Random training windows of a genome, and tiles of its held-out records.

    Args:
        config: the `data` group.
        seed: of the sampling.
        console: for a word on long work.

    Raises:
        UserError: the FASTA or the choice of records can't be used.
    """

    def __init__(self, config: GenomeConfig, seed: int, console: Console) -> None:
        super().__init__()
        self.config = config
        self.console = console
        self.alphabet = get_alphabet(config.alphabet)
        valid: Sequence[str] | None = config.valid
        test: Sequence[str] | None = config.test
        if config.fasta is None:
            valid = YEAST_VALID if valid is None else valid
            test = YEAST_TEST if test is None else test
        self.genome = Genome(config.fasta or YEAST_FASTA, self.alphabet)
        self.splits = split_records(self.genome.lengths, valid=valid, test=test, window=config.max_length + 1)
        self.genome.load()
        self.windows = RandomWindows(
            without_n(self.splits.train, self.genome, config.max_length),
            config.max_length,
            seed,
            config.reverse_complement,
        )
        self.tiles = {split: self._scored_tiles(getattr(self.splits, split)) for split in HELD_OUT}

    @property
    def label(self) -> str:
        """What to call the genome in a title."""
        return "yeast" if self.config.fasta is None else Path(self.config.fasta).name

    @property
    def summary(self) -> str:
        """The genome and its splits, in a line."""
        return "; ".join(
            f"{split} {sum(interval.length for interval in intervals):,} bases ({_shown(intervals)})"
            for split, intervals in self.splits._asdict().items()
            if intervals
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must find again: the records, and how they are split."""
        digest = hashlib.sha256()
        for name, length in self.genome.lengths.items():
            digest.update(f"{name}\t{length}\n".encode())
        for split, intervals in self.splits._asdict().items():
            digest.update(f"{split}\t{[tuple(interval) for interval in intervals]}\n".encode())
        lengths = self.genome.lengths
        return {"records": len(lengths), "bases": sum(lengths.values()), "split": digest.hexdigest()[:16]}

    def describe(self, index: NDArray[np.int64]) -> list[str]:
        """The regions of training samples, by their numbers."""
        return self.windows.draw(index).regions(self.windows.names)

    def train_dataloader(self) -> DataLoader:
        """The stream of training batches, from the step that the trainer has come to."""
        assert self.trainer is not None
        stream = WindowStream(
            self.genome,
            self.windows,
            batch_size=self.config.batch_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            start_step=self.trainer.global_step * self.trainer.accumulate_grad_batches,
        )
        return self._loader(stream)

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Evenly spaced windows of the validation records: enough to watch a run by."""
        return self._held_out_loader("valid", self._watched()) if self.tiles["valid"].start.size else []

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Every window of every split that is held out."""
        for split, tiles in self.tiles.items():
            if tiles.start.size:
                yield split, self._held_out_loader(split, tiles)

    def markov_bits(self, split: str, *, watched: bool = False) -> dict[int, float]:
        """Bits per base of each Markov order on every window of a split, or on those watched in training."""
        tiles = self._watched() if watched else self.tiles[split]
        if not tiles.start.size or not self.config.markov_orders or self.alphabet.name != "dna":
            return {}
        names = record_names(getattr(self.splits, split))
        bits, bases = dict.fromkeys(self._markov, 0.0), 0
        for first in range(0, tiles.start.size, 1024):
            rows = tiles.take(slice(first, first + 1024))
            tokens = gather(self.genome, names, rows, self.config.max_length)
            for order, model in self._markov.items():
                cost, scored = model.bits(tokens)
                bits[order] += cost
            bases += scored
        return {order: cost / bases for order, cost in bits.items()}

    @cached_property
    def _markov(self) -> dict[int, MarkovModel]:
        """A Markov model of each order, fitted to both strands of the training intervals."""
        orders = self.config.markov_orders
        if not orders:
            return {}
        with self.console.status("fitting Markov models"):
            records = (self.genome.fetch(*interval) for interval in self.splits.train)
            largest = MarkovModel.fit(records, max(orders))
        return {order: largest.lower(order) for order in orders}

    def _scored_tiles(self, intervals: tuple[Interval, ...]) -> Windows:
        """Tiles of held-out intervals, those with nothing but N left out."""
        tiles = tiled_windows(intervals, self.config.max_length)
        scored = self.alphabet.scored
        names = record_names(intervals)
        keep = [
            bool(scored[self.genome.fetch(names[record], start + 1, start + length)].any())
            for record, start, length in zip(*(column.tolist() for column in tiles[:3]), strict=True)
        ]
        return tiles.take(np.flatnonzero(keep))

    def _watched(self) -> Windows:
        tiles = self.tiles["valid"]
        number = min(self.config.valid_windows, tiles.start.size)
        return tiles.take(np.linspace(0, tiles.start.size - 1, number).astype(np.int64))

    def _held_out_loader(self, split: str, tiles: Windows) -> DataLoader:
        assert self.trainer is not None
        windows = TiledWindows(
            self.genome,
            record_names(getattr(self.splits, split)),
            tiles,
            self.config.max_length,
            batch_size=self.config.batch_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return self._loader(windows)

    def _loader(self, dataset: Any) -> DataLoader:
        workers = self.config.num_workers
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals_to_the_main_process,
        )


def _leave_signals_to_the_main_process(_: int) -> None:
    """Ctrl-C reaches the workers too; the main process still needs them to end its step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _shown(intervals: tuple[Interval, ...]) -> str:
    names = record_names(intervals)
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} records"
