"""Synthetic tasks as batches: made as they are read, from the seed and the step."""

from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.length_schedule import LengthSchedule, rows_at_a_time
from dnamamba.data.stateless import Int64s
from dnamamba.data.steps import worker_steps
from dnamamba.data.synthetic import Task
from dnamamba.datasets.base import DataModule, Steps
from dnamamba.datasets.synthetic_settings import SyntheticConfig
from dnamamba.objectives.base import Batch
from dnamamba.reports.answers import AnswersReport

# Held-out examples are the same whatever the seed of a run, so that runs can be compared.
_HELD_OUT_SEED = 0


class SyntheticData(DataModule):
    """A task without end to train on, and fixed examples to score: of `test`, the same number at each length.

    A batch has `tokens`, uint8 [B, L], and `answers`, uint8 [B, A].

    Args:
        config: the `data` group.
        seed: of the training examples.
        global_batch_size: sequences per step.
        max_steps: of the run.
        world_size: number of processes.

    Raises:
        UserError: the numbers do not go together.
    """

    config_class = SyntheticConfig
    report = AnswersReport
    name: str

    def __init__(self, config: SyntheticConfig, seed: int, **steps: Unpack[Steps]) -> None:
        super().__init__(config, seed, **steps)
        self.config, self.seed = config, seed
        self.alphabet = get_alphabet(config.alphabet or "symbols")
        self.schedule: LengthSchedule = config.planned(**steps)

    @property
    def label(self) -> str:
        """What to call the task in a title."""
        return self.name

    @property
    def summary(self) -> str:
        """The task and its sizes, in a line."""
        config = self.config
        lengths = ", ".join(f"{length:,}" for length in config.scored_lengths)
        return (
            f"{self.name} at {config.max_length:,} of {config.vocabulary} symbols; valid "
            f"{config.valid_examples:,} examples; test {config.test_examples:,} at each of {lengths}"
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must find again: there are no records, and the settings say all."""
        return {"records": 0, "bases": 0, "split": f"{self.name}, made as read"}

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Return names of a step's training examples."""
        return [f"example {number}" for number in index.tolist()]

    def micro_batch(self, batch: Batch) -> int:
        """Return how many sequences a device takes at a time."""
        config, length = self.config, batch["tokens"].shape[1]
        return rows_at_a_time(config.batch_size, self.schedule.stages[-1].length, length, self.chunk)

    def train_dataloader(self) -> DataLoader:
        """Return the stream of training batches, from the step that the trainer has come to."""
        stream = _Stream(self.config, self.seed, self.schedule, *self.place())
        return self.loader(stream, self.config.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Return the examples that are scored while training: all of `valid`."""
        return self._held_out("valid", [self.config.max_length], self.config.valid_examples)

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Yield the examples of `valid` and of `test`, the latter at every length."""
        yield "valid", self.val_dataloader()
        yield "test", self._held_out("test", self.config.scored_lengths, self.config.test_examples)

    def _held_out(self, split: str, lengths: list[int], examples: int) -> DataLoader:
        """Return every example on one process, once; as many symbols at a time as in training, at most."""
        rank, world_size, _ = self.place()
        own = np.arange(rank, examples, world_size, dtype=np.int64)
        parts = []
        for length in lengths:
            rows = max(1, self.config.bases_at_a_time // length)
            parts += [
                (self.config.task(length), own[first : first + rows]) for first in range(0, own.size, rows)
            ]
        return self.loader(_HeldOut(parts, split), self.config.num_workers)


class _Stream(IterableDataset[Batch]):
    """Endless training batches, whatever the number of workers."""

    def __init__(
        self,
        config: SyntheticConfig,
        seed: int,
        schedule: LengthSchedule,
        rank: int,
        world_size: int,
        start: int,
    ) -> None:
        self.config, self.seed, self.schedule = config, seed, schedule
        self.rank, self.world_size, self.start = rank, world_size, start

    def __iter__(self) -> Iterator[Batch]:
        for step in worker_steps(self.start):
            stage = self.schedule.stage_at(step)
            index = stage.samples(step, self.rank, self.world_size)
            yield _batch(self.config.task(stage.length), self.seed, "train", index)


class _HeldOut(Dataset[Batch]):
    """Fixed examples, each part of one length."""

    def __init__(self, parts: list[tuple[Task, Int64s]], split: str) -> None:
        self.parts, self.split = parts, split

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, item: int) -> Batch:
        task, index = self.parts[item]  # which ends an iteration by IndexError
        return _batch(task, _HELD_OUT_SEED, self.split, index)


def _batch(task: Task, seed: int, split: str, index: Int64s) -> Batch:
    tokens, answers = task.draw(seed, split, index)
    return {
        "tokens": torch.from_numpy(tokens),
        "answers": torch.from_numpy(answers),
        "index": torch.from_numpy(index),
    }
