"""Windows of several species as batches for torch's DataLoader; use it with `batch_size=None`.

Batches are those of data/labelled.py; `labels` are the species, and all rows are of one length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, IterableDataset

from dnamamba.data.labelled import Batch
from dnamamba.data.length_schedule import LengthSchedule
from dnamamba.data.species_windows import SpeciesWindows
from dnamamba.data.stateless import Int64s
from dnamamba.data.steps import worker_steps


class SpeciesStream(IterableDataset[Batch]):
    """Endless training batches, each all that one rank reads for an optimiser step.

    The stream is that of steps `start_step`, `start_step` + 1, ..., whatever the number of workers.

    Args:
        schedule: the stages.
        windows: the sampler of each stage.
        rank, world_size: which share of a step.
        start_step: the optimiser step to begin with.
    """

    def __init__(
        self,
        schedule: LengthSchedule,
        windows: Sequence[SpeciesWindows],
        *,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        assert [stage.length for stage in schedule.stages] == [sampler.length for sampler in windows]
        self.schedule, self.windows = schedule, windows
        self.rank, self.world_size, self.start_step = rank, world_size, start_step

    def __iter__(self) -> Iterator[Batch]:
        for step in worker_steps(self.start_step):
            stage = self.schedule.stage_at(step)
            yield _batch(self.windows[stage.number], stage.samples(step, self.rank, self.world_size))


class SpeciesSet(Dataset[Batch]):
    """The evaluation batches of one rank: of some samples every `world_size`-th, each once.

    The last batch may be smaller than the others.
    """

    def __init__(
        self, windows: SpeciesWindows, samples: Int64s, *, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.windows = windows
        self.batch_size = batch_size
        self.samples = samples[rank::world_size]

    def __len__(self) -> int:
        return -(-self.samples.size // self.batch_size)

    def __getitem__(self, item: int) -> Batch:
        if not 0 <= item < len(self):
            raise IndexError(item)
        return _batch(self.windows, self.samples[item * self.batch_size : (item + 1) * self.batch_size])


def _batch(windows: SpeciesWindows, index: Int64s) -> Batch:
    species, drawn = windows.draw(index)
    return {
        "tokens": torch.from_numpy(windows.tokens(drawn)),
        "labels": torch.from_numpy(species),
        "index": torch.from_numpy(index),
    }
