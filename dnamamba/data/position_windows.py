"""Windows of a genome with what is asked of each base or bin, for a DataLoader with `batch_size=None`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.data.length_schedule import Stage
from dnamamba.data.sampling import RandomWindows, Windows, gather
from dnamamba.data.stateless import Int64s
from dnamamba.data.steps import worker_steps

Batch = dict[str, Tensor]
"""tokens: uint8 [B, L]; targets: [B, bins] or [B, bins, T]; index: int64 [B], of samples or intervals."""


@dataclass(frozen=True)
class Targets:
    """What is asked of a genome.

    Attributes:
        values: by record, [bins] or [bins, T]; a bin begins at each multiple of `bin`.
        bin: bases of one.
        turned: the same positions read on the other strand, of an array in the order of reading.
        nothing: the target that counts nowhere.
    """

    values: Mapping[str, NDArray[Any]]
    bin: int
    turned: Callable[[NDArray[Any]], NDArray[Any]]
    nothing: float

    def of(self, name: str, start: int, length: int, *, reverse: bool = False) -> NDArray[Any]:
        """Return the targets of an interval that begins with a bin.

        Args:
            name: of the record.
            start: of the first bin, 0-based.
            length: in bases.
            reverse: give them in the order of the reverse complement.
        """
        assert start % self.bin == 0
        rows = self.values[name][start // self.bin : -(-(start + length) // self.bin)]
        return self.turned(rows[::-1]) if reverse else rows


def aligned(intervals: Sequence[Interval], size: int) -> tuple[Interval, ...]:
    """Cut intervals to whole bins of `size` bases."""
    moved = (one._replace(start=-(-one.start // size) * size) for one in intervals)
    return tuple(one for one in moved if one.start < one.end)


class PositionStream(IterableDataset[Batch]):
    """Endless training batches, each all that one rank reads for an optimiser step; a function of the step.

    Args:
        genome: where the bases are.
        targets: what is asked of them.
        sampler: windows of one base less than are read, as it counts them.
        stage: how many windows a step reads.
        rank, world_size: which share of a step.
        start_step: the optimiser step to begin with.
    """

    def __init__(
        self,
        genome: Genome,
        targets: Targets,
        sampler: RandomWindows,
        stage: Stage,
        *,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        self.genome, self.targets, self.sampler, self.stage = genome, targets, sampler, stage
        self.rank, self.world_size, self.start_step = rank, world_size, start_step

    def __iter__(self) -> Iterator[Batch]:
        for step in worker_steps(self.start_step):
            index = self.stage.samples(step, self.rank, self.world_size)
            windows = drawn(self.sampler, self.targets.bin, index)
            yield window_batch(self.genome, self.targets, self.sampler.names, windows, index)


def drawn(sampler: RandomWindows, size: int, index: Int64s) -> Windows:
    """Return the windows of samples, each moved to the beginning of the bin in which it begins.

    Args:
        sampler: draws windows at any position.
        size: bases of a bin.
        index: int64 [B], numbers of samples.
    """
    windows = sampler.draw(index)
    return windows._replace(start=windows.start - windows.start % size)


def window_batch(
    genome: Genome, targets: Targets, names: Sequence[str], windows: Windows, index: Int64s
) -> Batch:
    """Build a batch of windows of one length with their targets.

    Args:
        genome: gives the bases.
        targets: of every record.
        names: of the records.
        windows: of one length.
        index: int64 [B], the windows' numbers.
    """
    length = int(windows.length[0])
    columns = zip(windows.record.tolist(), windows.start.tolist(), windows.strand.tolist(), strict=True)
    rows = [
        targets.of(names[record], start, length, reverse=strand == 1) for record, start, strand in columns
    ]
    return {
        "tokens": torch.from_numpy(gather(genome, names, windows, length - 1)),
        "targets": torch.from_numpy(np.stack(rows)),
        "index": torch.from_numpy(index),
    }


class WindowSet(Dataset[Batch]):
    """The windows of one length that tile intervals, evenly spaced some of them; `index` counts those."""

    def __init__(
        self,
        genome: Genome,
        targets: Targets,
        intervals: Sequence[Interval],
        length: int,
        *,
        most: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.genome, self.targets, self.batch_size = genome, targets, batch_size
        self.names = tuple(dict.fromkeys(one.name for one in intervals))
        places = [
            (self.names.index(one.name), start)
            for one in intervals
            for start in range(one.start, one.end - length + 1, length)
        ]
        number = min(most, len(places))
        chosen = np.linspace(0, max(0, len(places) - 1), number).astype(np.int64)
        record, start = np.array(places, dtype=np.int64).reshape(-1, 2)[chosen].T
        size = np.full(number, length, dtype=np.int64)
        self.windows = Windows(record, start, size, np.zeros(number, dtype=np.int8))
        self.rows = _shared(number, rank, world_size)

    def __len__(self) -> int:
        return -(-self.rows.size // self.batch_size)

    def __getitem__(self, item: int) -> Batch:
        if not 0 <= item < len(self):
            raise IndexError(item)
        index = self.rows[item * self.batch_size : (item + 1) * self.batch_size]
        batch = window_batch(self.genome, self.targets, self.names, self.windows.take(index), index)
        batch["targets"][index < 0] = self.targets.nothing
        return batch


class IntervalSet(Dataset[Batch]):
    """Whole intervals, a batch each; `index` counts them."""

    def __init__(
        self,
        genome: Genome,
        targets: Targets,
        intervals: Sequence[Interval],
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.genome, self.targets, self.intervals = genome, targets, intervals
        self.rows = _shared(len(intervals), rank, world_size)

    def __len__(self) -> int:
        return self.rows.size

    def __getitem__(self, item: int) -> Batch:
        if not 0 <= item < len(self):
            raise IndexError(item)
        index = int(self.rows[item])
        one = self.intervals[index]
        ids = self.genome.fetch(one.name, one.start, one.end)
        targets = np.array(self.targets.of(one.name, one.start, one.length))
        if index < 0:
            targets[...] = self.targets.nothing
        return {
            "tokens": torch.from_numpy(np.array(ids))[None],
            "targets": torch.from_numpy(targets)[None],
            "index": torch.tensor([index]),
        }


def _shared(number: int, rank: int, world_size: int) -> Int64s:
    """Return numbers for one rank, as many on each: -1 is read, and counts nowhere."""
    rows = np.arange(rank, number, world_size, dtype=np.int64)
    return np.append(rows, -1) if rows.size * world_size < number else rows
