"""The contract of a data set: what a run asks of it, for pretraining and fine-tuning alike.

A data set is a `DataModule` and the `DataConfig` that it is built from, named by `data._target_` of a
configuration or by the config object that a Python call passes.
"""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, TypedDict, Unpack

import lightning
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import Alphabet
from dnamamba.data.length_schedule import LengthSchedule
from dnamamba.data.stateless import Int64s
from dnamamba.datasets.settings import DataConfig as DataConfig
from dnamamba.datasets.settings import check_shares as check_shares
from dnamamba.datasets.settings import filled as filled
from dnamamba.datasets.settings import longest as longest
from dnamamba.errors import STOP_SIGNALS, UserError, missing
from dnamamba.models import DecoderConfig
from dnamamba.objectives.base import Batch
from dnamamba.terminal import Console

HELD_OUT = ("valid", "test")
MOST_WORKERS = 1024  # more would fill the machine before the first batch
SHARED_MEMORY = Path("/dev/shm")
IN_FLIGHT, PAGE = 2, 4096  # batches per loader process, as torch has it; bytes


class Steps(TypedDict):
    """What a `DataModule` is told of a run's steps; its docstring explains each."""

    global_batch_size: int
    max_steps: int | None
    world_size: int


class DataModule(lightning.LightningDataModule):
    """Training, validation and test batches (`dnamamba.objectives.base.Batch`).

    A training batch is all that a process reads for an optimiser step, and a pure function of the seed and
    the step: that is what makes a resumed run equal an uninterrupted one.

    Args:
        config: the `data` group, its alphabet filled in.
        seed: of the sampling.
        global_batch_size: sequences of the longest stage that a step reads.
        max_steps: optimiser steps of the run; None ends it with its last stage.
        world_size: number of processes, those that share their batches counted as one.

    Raises:
        UserError: a file, a record, a label or a split can't be used; the message names it.

    Attributes:
        config_class: its `DataConfig`.
        alphabet: of the tokens.
        schedule: the stages of the run.
        padding: `right` or `left`, the side of a short row that is filled.
        context_size: neighbouring processes that are given the same batches, of which each reads a part.
        reverse_complement: whether each training sequence is read from a random strand; None where the recipe
            may decide, and otherwise the same as True.
        chunk: positions of a sequence that are read at a time (`train.chunk_bases`), by all of its processes
            together; None: all of them.
        console: for a word on long work.
        report: what a pretraining prints and writes: a class with the arguments of `PretrainingReport`, which
            None stands for.
    """

    report: ClassVar[type | None] = None
    config_class: ClassVar[type]
    alphabet: Alphabet
    schedule: LengthSchedule
    padding: str = "right"
    context_size: int = 1
    reverse_complement: bool | None = False
    chunk: int | None = None
    console: Console = Console(quiet=True)

    def __init__(self, config: Any, seed: int, **steps: Unpack[Steps]) -> None:
        super().__init__()

    @property
    def label(self) -> str:
        """What to call the data in a title."""
        raise missing(self, "label")

    @property
    def summary(self) -> str:
        """The data and its splits, in a line."""
        raise missing(self, "summary")

    @property
    def notes(self) -> tuple[str, ...]:
        """What else the user should read before the first step, one line each."""
        return ()

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that a resumed run must find again: `records`, `bases`, `split`."""
        raise missing(self, "identity")

    @property
    def train_counts(self) -> tuple[list[int], int]:
        """Training sequences of each label, and of all, for class weights; here equal shares."""
        labels = self.decoder("mean").labels
        return [1] * len(labels), len(labels)

    @property
    def training_sequences(self) -> int | None:
        """How many there are to train on; None where they are drawn without end."""
        return None

    @property
    def training_bases(self) -> int | None:
        """Bases of these sequences as they are read; None where they are drawn without end."""
        return None

    def run_for(self, steps: int) -> None:
        """Make the run one of so many steps; only where `training_sequences` is a number."""
        raise missing(self, "run_for")

    @property
    def common_length(self) -> int | None:
        """Bases of every sequence that is read, of all splits; None where they differ."""
        return None

    @property
    def stranded(self) -> bool:
        """Whether every sequence was given with its strand, and both strands occur."""
        return False

    def decoder(self, mode: str) -> DecoderConfig:
        """Return the question that the labels ask, answered by pooling `mode`.

        Raises:
            UserError: there are no labels.
        """
        raise UserError(f"data: {self.label} has no labels to fine-tune on")

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Return names of a step's training samples, by their numbers."""
        raise missing(self, "describe")

    def names(self, split: str, index: Int64s) -> list[str]:
        """Return names of the examples of `valid` or `test`, by the `index` of their batches."""
        return [f"{split}_{number}" for number in index.tolist()]

    def micro_batch(self, batch: Batch) -> int:
        """Return how many sequences of a training batch a device takes at a time."""
        raise missing(self, "micro_batch")

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Return loaders of `valid`, then of `test`, each example on one process and once."""
        raise missing(self, "held_out_loaders")

    def training_batches(self, most: int, bases: int) -> Iterator[Batch]:
        """Yield training examples for the baselines of a fine-tuning, which one process fits.

        Args:
            most: examples that will be read; there may be fewer.
            bases: that will be read in all.
        """
        done = 0
        for batch in self.train_dataloader():
            yield batch
            done += len(batch["tokens"])
            if done >= most:
                return

    def baselines(self, split: str, *, watched: bool = False) -> dict[int, float]:
        """Return Markov models' bits per base by order, on a whole split or what training scores."""
        return {}

    @property
    def stages(self) -> str | None:
        """The lengths of the run and the steps at each, in a line; None where there is one length."""
        stages = self.schedule.stages
        if len(stages) == 1:
            return None
        return "steps at each length: " + ", ".join(f"{stage.length:,}: {stage.steps:,}" for stage in stages)

    def loader(self, dataset: Any, workers: int) -> DataLoader:
        """Return Torch's loader of a data set whose items are batches.

        Raises:
            UserError: there are too many processes, or /dev/shm has no room for their batches.
        """
        if workers > MOST_WORKERS:
            raise UserError(
                f"data.num_workers: must be at most {MOST_WORKERS:,} (got {workers:,}); set one per core"
            )
        if workers:
            need_shared_memory(dataset, workers)
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            worker_init_fn=leave_signals_to_the_main_process,
        )

    def place(self) -> tuple[int, int, int]:
        """Return rank, number of processes and optimiser step of the trainer that asks; 0, 1, 0 without one.

        Processes that share their batches count as one.
        """
        trainer = self.trainer
        if trainer is None:
            return 0, 1, 0
        size = self.context_size
        return trainer.global_rank // size, trainer.world_size // size, trainer.global_step


def need_shared_memory(dataset: Any, workers: int) -> None:
    """Refuse a /dev/shm too small for the batches on their way: torch's own message comes too late to help.

    Raises:
        UserError: naming the room there is and the room needed.
    """
    if not SHARED_MEMORY.is_dir():
        return
    leaves = tree_leaves(next(iter(dataset), None))
    batch = sum(-(-leaf.nbytes // PAGE) * PAGE for leaf in leaves if isinstance(leaf, Tensor))
    needed, free = IN_FLIGHT * workers * batch, shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        raise UserError(
            f"data.num_workers: {workers} loader processes need {needed:,} bytes of {SHARED_MEMORY}, which "
            f"has {free:,}; give it more (docker run --shm-size=1g) or set data.num_workers=0"
        )


def leave_signals_to_the_main_process(_: int) -> None:
    """Ignore Ctrl-C in a worker: the main process still needs it to end its step."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
