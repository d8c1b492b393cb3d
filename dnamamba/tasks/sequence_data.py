"""What the fine-tuning run asks of a data set, whichever way it reads its sequences."""

import signal
from typing import Any, ClassVar

import lightning
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import Alphabet
from dnamamba.data.labelled import Batch
from dnamamba.data.stateless import Int64s
from dnamamba.models import DecoderConfig
from dnamamba.tasks.checkpointing import STOP_SIGNALS


class SequenceData(lightning.LightningDataModule):
    """Labelled sequences as training, validation and test batches (`dnamamba.data.labelled.Batch`).

    A subclass is named by `data._target_` of a configuration and built with the keyword arguments of
    `__init__` below. A training batch is all that a process reads for an optimiser step; the stream is a pure
    function of the seed and the step.

    Attributes:
        config_class: the dataclass of the `data` group; it has `batch_size`.
        alphabet: of the tokens.
        padding: `right` or `left`, the side of a short row that is filled.
        max_steps: optimiser steps of the run.
        report: lines for the user to read before the first step.
        label: what to call the data in a title.
        train_counts: training sequences of each label, for class weights.
        identity: plain values that a resumed run must find again.
    """

    config_class: ClassVar[type]
    alphabet: Alphabet
    padding: str
    max_steps: int
    report: list[str]
    label: str
    train_counts: list[int]
    identity: dict[str, Any]

    def decoder(self, mode: str) -> DecoderConfig:
        """The question that the labels ask, answered by pooling `mode`."""
        raise NotImplementedError

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Names of a step's training samples, by their numbers."""
        raise NotImplementedError

    def names(self, index: Int64s) -> list[str]:
        """Names of evaluation examples, by the `index` of their batches."""
        raise NotImplementedError

    def micro_batch(self, batch: Batch) -> int:
        """How many sequences of a training batch a device takes at a time."""
        raise NotImplementedError

    def held_out_loader(self, split: str) -> DataLoader:
        """Every example of `valid` or `test`, each on one process and once."""
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


def leave_signals_to_the_main_process(_: int) -> None:
    """Ctrl-C reaches the workers too; the main process still needs them to end its step."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
