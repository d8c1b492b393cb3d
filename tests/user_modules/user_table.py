"""Sequences of one length in a CSV of two columns, for pretraining and fine-tuning."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.stateless import permuted, random_bits
from dnamamba.data.steps import worker_steps
from dnamamba.datasets.base import DataConfig, DataModule
from dnamamba.datasets.labelled.config import one_stage
from dnamamba.errors import UserError
from dnamamba.models import DecoderConfig


@dataclass(frozen=True)
class TableConfig(DataConfig):
    path: str
    length: int
    batch_size: int = 4
    alphabet: str | None = None
    num_workers: int = 0

    @property
    def bases_at_a_time(self):
        return self.batch_size * self.length

    def planned(self, *, global_batch_size, max_steps, world_size, training_segments):
        return one_stage(self.length, global_batch_size, max_steps)


class Steps(IterableDataset):
    def __init__(self, data, start):
        self.data, self.start = data, start

    def __iter__(self):
        return (self.data.training_batch(step) for step in worker_steps(self.start))


class TableData(DataModule):
    config_class = TableConfig
    label = "the table"
    summary = "a table of sequences"

    def __init__(self, config, seed, *, global_batch_size, max_steps, world_size):
        super().__init__(
            config, seed, global_batch_size=global_batch_size, max_steps=max_steps, world_size=world_size
        )
        self.settings, self.seed, self.share = config, seed, global_batch_size // world_size
        self.alphabet = get_alphabet(config.alphabet)
        with open(config.path, newline="") as file:
            rows = list(csv.reader(file))
        for number, row in enumerate(rows, start=1):
            if len(row) != 2 or len(row[0]) != config.length:
                raise UserError(f"{config.path}, row {number}: needs {config.length} letters and a label")
        self.tokens = torch.from_numpy(np.stack([self.alphabet.encode(row[0]) for row in rows]))
        self.names_of_labels = sorted({row[1] for row in rows})
        self.values = torch.tensor([self.names_of_labels.index(row[1]) for row in rows])
        place = np.arange(len(rows)) % 5
        self.split = {"train": np.flatnonzero(place < 3), "valid": np.flatnonzero(place == 3)}
        self.split["test"] = np.flatnonzero(place == 4)
        self.schedule = one_stage(config.length, global_batch_size, max_steps)

    @property
    def identity(self):
        digest = hashlib.sha256(Path(self.settings.path).read_bytes()).hexdigest()
        return {"records": len(self.tokens), "bases": self.tokens.numel(), "split": digest}

    @property
    def train_counts(self):
        return torch.bincount(self.values[self.split["train"]]).tolist(), len(self.split["train"])

    def decoder(self, mode):
        return DecoderConfig("user_head.Focal", tuple(self.names_of_labels), mode)

    def describe(self, step, index):
        return [f"sample_{number}" for number in index.tolist()]

    def micro_batch(self, batch):
        return self.settings.batch_size

    def training_batch(self, step):
        rank, world_size, _ = self.place()
        first = (step * world_size + rank) * self.share
        sample, number = np.arange(first, first + self.share), len(self.split["train"])
        rows = permuted(sample % number, number, random_bits(self.seed, 0, sample // number))
        return self.batch(self.split["train"][rows], sample)

    def batch(self, rows, index):
        return {"tokens": self.tokens[rows], "labels": self.values[rows], "index": torch.from_numpy(index)}

    def train_dataloader(self):
        return self.loader(Steps(self, self.place()[2]), self.settings.num_workers)

    def val_dataloader(self):
        return self.held_out("valid")

    def held_out_loaders(self):
        return ((split, self.held_out(split)) for split in ("valid", "test"))

    def held_out(self, split):
        rank, world_size, _ = self.place()
        rows = self.split[split][rank::world_size]
        size = self.settings.batch_size
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        return self.loader([self.batch(part, part) for part in parts], 0)


TableConfig.module = TableData
