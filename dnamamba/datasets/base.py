"""What the fine-tuning run asks of a data set, whichever way it reads its sequences."""

from collections.abc import Iterator
from typing import Any, ClassVar

import lightning
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import Alphabet
from dnamamba.data.labelled import Batch
from dnamamba.data.stateless import Int64s
from dnamamba.datasets.genome.data import leave_signals_to_the_main_process
from dnamamba.models import DecoderConfig


class SequenceData(lightning.LightningDataModule):
    """Labelled sequences as training, validation and test batches (`dnamamba.data.labelled.Batch`).

    A subclass is named by `data._target_` of a configuration and built as

        SubClass(config, seed, global_batch_size=..., max_steps=..., world_size=...)

    where `config` is a `config_class` made of the rest of the group, its alphabet filled in. A training batch
    is all that a process reads for an optimiser step, and a pure function of the seed and the step.

    Attributes:
        config_class: a frozen dataclass with `alphabet` and `batch_size` among its fields.
        alphabet: of the tokens.
        max_steps: optimiser steps of the run.
        labels: names of the classes, in the order of their numbers.
        padding: `right` or `left`, the side of a short row that is filled.
        label: what to call the data in a title.
        summary: the data and its splits, in a line.
        notes: what else the user should read before the first step, a line each.
        identity: plain values that a resumed run must find again.
    """

    config_class: ClassVar[type]
    alphabet: Alphabet
    padding = "right"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What to call the data in a title."""
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """The data and its splits."""
        raise NotImplementedError

    @property
    def notes(self) -> tuple[str, ...]:
        """What else the user should read."""
        return ()

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must find again."""
        raise NotImplementedError

    @property
    def train_counts(self) -> tuple[list[int], int]:
        """Training sequences of each label, and of all, for class weights; here equal shares."""
        return [1] * len(self.labels), len(self.labels)

    def decoder(self, mode: str) -> DecoderConfig:
        """The question that the labels ask, answered by pooling `mode`."""
        return DecoderConfig("classification", self.labels, mode)

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Names of a step's training samples, by their numbers."""
        raise NotImplementedError

    def names(self, split: str, index: Int64s) -> list[str]:
        """Names of the examples of `valid` or `test`, by the `index` of their batches."""
        raise NotImplementedError

    def micro_batch(self, batch: Batch) -> int:
        """How many sequences of a training batch a device takes at a time."""
        raise NotImplementedError

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Every example of `valid`, then of `test`, each on one process and once."""
        raise NotImplementedError

    def loader(self, dataset: Any, workers: int) -> DataLoader:
        """Torch's loader of a data set whose items are batches."""
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            worker_init_fn=leave_signals_to_the_main_process,
        )
