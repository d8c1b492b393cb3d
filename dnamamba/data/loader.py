"""Windows as batches for torch's DataLoader. Use it with `batch_size=None`: an item is a batch already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from dnamamba.data.intervals import Loaded
from dnamamba.data.length_schedule import LengthSchedule
from dnamamba.data.sampling import Int64s, Windows, WindowSampler, gather
from dnamamba.data.steps import worker_steps

Batch = dict[str, Tensor]


class WindowStream(IterableDataset[Batch]):
    """Endless training batches, each all that one rank reads for an optimiser step.

    `tokens` is uint8 `[S, length + 1]`, the rank's share of the step's sequences, and `index`, int64 `[S]`,
    holds their sample numbers. Where windows are ragged, `length` is that of the batch's longest. The stream
    is that of steps `start_step`, `start_step` + 1, ..., whatever the number of workers.

    Args:
        genome: where the bases are.
        schedule: the stages.
        windows: the sampler of each stage.
        rank, world_size: which share of a step.
        start_step: the optimiser step to begin with.
    """

    def __init__(
        self,
        genome: Loaded,
        schedule: LengthSchedule,
        windows: Sequence[WindowSampler],
        *,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        assert [stage.length for stage in schedule.stages] == [sampler.length for sampler in windows]
        self.genome = genome
        self.schedule = schedule
        self.windows = windows
        self.rank = rank
        self.world_size = world_size
        self.start_step = start_step
        # Before the workers fork, so that they share one copy of the bases.
        genome.load(name for sampler in windows for name in sampler.names)

    def __iter__(self) -> Iterator[Batch]:
        for step in worker_steps(self.start_step):
            stage = self.schedule.stage_at(step)
            sampler = self.windows[stage.number]
            index = stage.samples(step, self.rank, self.world_size)
            windows = sampler.draw(index)
            length = _longest(windows) if sampler.ragged else sampler.length
            yield _batch(self.genome, sampler.names, windows, length, index)


class TiledWindows(Dataset[Batch]):
    """The evaluation batches of one rank: every `world_size`-th tile, each tile on one rank and once.

    `tokens` is uint8 `[b, length + 1]`, padded at the end of short tiles; `index`, int64 `[b]`, counts the
    tiles. The last batch may be smaller. All ranks have as many rows, since they wait for each other: where
    the tiles do not go round, the last row is padding alone, of index -1. Without a `length`, a batch is as
    long as its longest tile.
    """

    def __init__(
        self,
        genome: Loaded,
        names: tuple[str, ...],
        windows: Windows,
        length: int | None,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.genome = genome
        self.names = names
        self.windows = windows
        self.length = length
        self.batch_size = batch_size
        self.tiles = np.arange(rank, windows.start.size, world_size)
        if self.tiles.size * world_size < windows.start.size:
            self.tiles = np.append(self.tiles, -1)
        genome.load(names)

    def __len__(self) -> int:
        return -(-self.tiles.size // self.batch_size)

    def __getitem__(self, item: int) -> Batch:
        if not 0 <= item < len(self):
            raise IndexError(item)
        index = self.tiles[item * self.batch_size : (item + 1) * self.batch_size]
        windows = self.windows.take(index)
        windows.length[index < 0] = 0
        length = _longest(windows) if self.length is None else self.length
        return _batch(self.genome, self.names, windows, length, index)


def _longest(windows: Windows) -> int:
    """Count the targets of the longest window, at least 1."""
    return max(1, int(windows.length.max()) - 1)


def _batch(genome: Loaded, names: tuple[str, ...], windows: Windows, length: int, index: Int64s) -> Batch:
    tokens = gather(genome, names, windows, length)
    return {"tokens": torch.from_numpy(tokens), "index": torch.from_numpy(index)}
