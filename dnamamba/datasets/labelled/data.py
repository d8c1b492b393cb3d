"""A user's own labelled sequences, read, checked and split before the first step."""

import hashlib
from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
from torch.utils.data import DataLoader

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_TEST, YEAST_VALID
from dnamamba.data.examples import Collector
from dnamamba.data.labelled import Batch, Crop, LabelledRows, LabelledStream
from dnamamba.data.multi_targets import missing, multi_targets
from dnamamba.data.partition import (
    SPLITS,
    Assignment,
    assign,
    groups_apart,
    sequence_keys,
    shared_bases,
    shared_sequences,
)
from dnamamba.data.stateless import Int64s
from dnamamba.data.targets import targets_of
from dnamamba.datasets.base import DataModule, Steps
from dnamamba.datasets.labelled.config import LabelledConfig, one_stage
from dnamamba.datasets.settings import check_shares, refuse_unused
from dnamamba.errors import UserError
from dnamamba.heads.registry import head_class
from dnamamba.heads.regression import Regression
from dnamamba.models import DecoderConfig


class LabelledData(DataModule):
    """Labelled sequences of any of the five ways of giving them, or the package's yeast windows.

    Args:
        config: the `data` group.
        seed: of the sampling.
        global_batch_size: sequences an optimiser step.
        max_steps: of the run, which examples do not end: they are drawn again and again.
        world_size: number of processes.

    Raises:
        UserError: a file, a label or a split can't be used; the message names it.
    """

    config_class = LabelledConfig

    def __init__(self, config: LabelledConfig, seed: int, **steps: Unpack[Steps]) -> None:
        super().__init__(config, seed, **steps)
        check_shares(steps["global_batch_size"], steps["world_size"])
        assert config.alphabet is not None
        self.config, self.seed, self.padding = config, seed, config.padding
        self.reverse_complement = config.reverse_complement
        self.alphabet = get_alphabet(config.alphabet)
        self.share = steps["global_batch_size"] // steps["world_size"]
        self._head = head_class(config.task if config.targets is None else "multitask", "data.task")
        if config.stratify and self._head.reads == "number":
            raise UserError(
                f"data.stratify: data.task={config.task} has numbers, not labels to hold out by (got true); "
                "leave it out"
            )
        if config.label_names is not None and self._head.reads == "number":
            raise UserError(
                f"data.label_names: data.task={config.task} has numbers, not labels (got "
                f"{', '.join(config.label_names)}); leave it out"
            )
        group = config.columns.get("group")
        if group is not None and config.valid is None and config.test is None:
            raise UserError(
                f"data.columns.group: has no effect without data.valid or data.test, which name groups (got "
                f"{group}); name some there"
            )
        collector = Collector(self.alphabet)
        self._label = config.collect(collector)
        self._said = collector.notes
        self._strands = collector.strands
        self.examples = collector.examples(needs_label=self._head.reads != "labels")
        self.keys = sequence_keys(self.examples, self.alphabet)
        own = not config.source and config.valid is None and config.test is None
        self.split: Assignment = assign(
            self.examples,
            self.keys,
            valid=YEAST_VALID if own else config.valid,
            test=YEAST_TEST if own else config.test,
            valid_fraction=config.valid_fraction,
            test_fraction=config.test_fraction,
            stratify=config.stratify,
        )
        hashed = self.split.hashed
        unused = [f"{name}_fraction" for number, name in ((1, "valid"), (2, "test")) if number not in hashed]
        refuse_unused(config, [*unused, *([] if hashed else ["stratify"])], f"on a split by {self.split.how}")
        self.shared = [
            *shared_sequences(self.examples, self.keys, self.split),
            *shared_bases(self.examples, self.split),
        ]
        if self.shared and config.duplicates == "error":
            raise UserError(f"data.duplicates=error: {self.shared[0]}")
        labels, names = self.examples.labels, self.examples.names
        self.tasks: list[dict[str, Any]] | None = None
        if config.targets is None:
            self.targets = targets_of(self._head.reads, labels, names, config.label_names, self.split)
        else:
            found = multi_targets(config.targets, labels, names, self.split, Regression.unit)
            self.targets, self.tasks = found
        longest = int(self.examples.lengths.max())
        self.crop = Crop(config.max_length or longest, config.crop)
        self.schedule = one_stage(self.crop.length, steps["global_batch_size"], steps["max_steps"])
        self.rows = {name: np.flatnonzero(self.split.numbers == i) for i, name in enumerate(SPLITS)}

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes or labels, or of the number."""
        return self.targets.names

    @property
    def label(self) -> str:
        """The name of the file or folder."""
        return self._label

    @property
    def train_counts(self) -> tuple[list[int], int]:
        """Training sequences of each label, and of all."""
        return self.targets.counts(self.split.numbers == 0), self.rows["train"].size

    @property
    def training_sequences(self) -> int:
        """Of the training split."""
        return self.rows["train"].size

    @property
    def training_bases(self) -> int:
        """Of the training split, as it is cut."""
        return int(np.minimum(self.examples.lengths[self.rows["train"]], self.crop.length).sum())

    def run_for(self, steps: int) -> None:
        """See `DataModule.run_for`."""
        self.schedule = one_stage(self.crop.length, self.schedule.stages[0].sequences, steps)

    @property
    def summary(self) -> str:
        """How many sequences there are, and how they are split."""
        lengths = self.examples.lengths
        counts = ", ".join(f"{name} {rows.size:,}" for name, rows in self.rows.items())
        span = " to ".join(
            f"{length:,}" for length in dict.fromkeys((int(lengths.min()), int(lengths.max())))
        )
        return f"{len(self.examples):,} sequences of {span} bases: {counts} (split by {self.split.how})"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sequences of each label; what is cut; what is in two splits."""
        lines = list(self._said)
        if self.tasks is not None:
            lines += missing(self.targets.values, [task["name"] for task in self.tasks])
        elif self.targets.reads != "number":
            for number, name in enumerate(SPLITS):
                counts = self.targets.counts(self.split.numbers == number)
                pairs = zip(self.targets.names, counts, strict=True)
                lines.append(f"  {name}: " + ", ".join(f"{label} {count:,}" for label, count in pairs))
        cut = int((self.examples.lengths > self.crop.length).sum())
        if cut:
            lines.append(
                f"{cut:,} are longer than data.max_length={self.crop.length:,}: of each, "
                f"data.crop={self.crop.part} is read"
            )
        of_table = self.config.bed is None and (self.config.table or self.config.labels)
        apart = groups_apart(self.examples, self.split) if of_table else 0
        if apart:
            lines.append(
                f"warning: {apart:,} groups have sequences in two splits; data.valid and data.test name some"
            )
        lines += [f"warning: {shared}" for shared in self.shared]
        if not self.shared:
            lines.append("no sequence, nor its reverse complement, is in two splits")
        return tuple(lines)

    @property
    def identity(self) -> dict[str, Any]:
        """The sequences, their labels and their splits."""
        digest = hashlib.sha256(self.keys.tobytes())
        digest.update(self.split.numbers.tobytes())
        digest.update(self.targets.identity())
        bases = int(self.examples.offsets[-1])
        return {"records": len(self.examples), "bases": bases, "split": digest.hexdigest()[:16]}

    @property
    def common_length(self) -> int | None:
        """Of the sequences as they are cut."""
        lengths = np.unique(np.minimum(self.examples.lengths, self.crop.length))
        return int(lengths[0]) if lengths.size == 1 else None

    @property
    def stranded(self) -> bool:
        """Whether regions are all of a strand. A file of `+` alone says nothing: many programs write that."""
        return self._strands == {"+", "-"}

    def decoder(self, mode: str) -> DecoderConfig:
        """Return the question that the labels ask; a regression is scaled by its training targets."""
        if self.tasks is not None:
            return DecoderConfig("multitask", self.targets.names, mode, tasks=self.tasks)
        unit = self._head.unit(self.targets.values[self.rows["train"]])
        return DecoderConfig(self.config.task, self.targets.names, mode, *unit)

    def describe(self, step: int, index: Int64s) -> list[str]:
        """Return names of a step's training samples."""
        return self.names("train", self._stream().example_of(index))

    def names(self, split: str, index: Int64s) -> list[str]:
        """Return names of examples."""
        return [self.examples.names[example] for example in index.tolist()]

    def micro_batch(self, batch: Batch) -> int:
        """Return `data.batch_size`."""
        return self.config.batch_size

    def train_dataloader(self) -> DataLoader:
        """Return the stream of training batches, a step each, from the step that the trainer has come to."""
        return self.loader(self._stream(), self.config.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Return evenly spaced validation examples, for validation during training."""
        rows = self.rows["valid"]
        number = min(self.config.valid_examples, rows.size)
        return self._held_out(rows[np.linspace(0, rows.size - 1, number).astype(np.int64)])

    def held_out_loaders(self) -> Iterator[tuple[str, DataLoader]]:
        """Yield every validation example, then every test example."""
        for split in SPLITS[1:]:
            yield split, self._held_out(self.rows[split])

    def training_batches(self, most: int, bases: int) -> Iterator[Batch]:
        """Yield each training example once, as those that are held out; of too many some, evenly spaced."""
        rows = self.rows["train"]
        lengths = np.minimum(self.examples.lengths[rows], self.crop.length)
        number = max(1, min(most, rows.size, int(bases / lengths.mean())))
        chosen = rows[np.linspace(0, rows.size - 1, number).astype(np.int64)]
        return iter(self._held_out(chosen))

    def _held_out(self, rows: Int64s) -> DataLoader:
        rank, world_size, _ = self.place()
        dataset = LabelledRows(
            self.examples,
            rows,
            self.targets.values,
            self.alphabet,
            crop=self.crop,
            padding=self.padding,
            batch_size=self.config.batch_size,
            rank=rank,
            world_size=world_size,
        )
        return self.loader(dataset, self.config.num_workers)

    def _stream(self) -> LabelledStream:
        rank, world_size, step = self.place()
        return LabelledStream(
            self.examples,
            self.rows["train"],
            self.targets.values,
            self.alphabet,
            crop=self.crop,
            reverse_complement=self.reverse_complement is not False,
            padding=self.padding,
            seed=self.seed,
            share=self.share,
            rank=rank,
            world_size=world_size,
            start_step=step,
        )


LabelledConfig.module = LabelledData
