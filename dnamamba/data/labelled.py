"""Batches of labelled sequences for torch's DataLoader; use it with `batch_size=None`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from dnamamba.data.alphabet import Alphabet, Ids
from dnamamba.data.examples import Examples
from dnamamba.data.stateless import Int64s, permuted, random_bits
from dnamamba.data.steps import worker_steps

_ORDER_STREAM, _CROP_STREAM, _STRAND_STREAM = 3, 4, 5

Batch = dict[str, Tensor]
"""What a process reads at a time of a labelled data set; the first dimension counts samples.

tokens: uint8 [B, L].
lengths: int64 [B], real positions of each row; without this key, all L. Padding is on the side that the data
    module's `padding` says.
labels: int64 [B] of classes; float32 [B, C], 0 or 1, of labels; float32 [B, 1] of a regression.
index: int64 [B], the numbers of the samples (training) or of the examples (evaluation).
"""


@dataclass(frozen=True)
class Crop:
    """Which `length` bases of a longer sequence are read; `random` is the middle where nothing is random."""

    length: int
    part: str

    def take(self, ids: Ids, random: int | None) -> Ids:
        """Return a view of the part; `random` is 64 random bits, or None in an evaluation."""
        spare = ids.size - self.length
        if spare <= 0:
            return ids
        if self.part == "random" and random is not None:
            start = random % (spare + 1)
        else:
            start = {"start": 0, "end": spare}.get(self.part, spare // 2)
        return ids[start : start + self.length]


def padded(rows: Sequence[Ids], pad_id: int, side: str) -> tuple[Ids, Int64s]:
    """Return rows in one array, uint8 [B, L], with their lengths, int64 [B].

    L is that of the longest, rounded up to a multiple of 8: such lengths the fastest kernels take.

    Args:
        rows: uint8, at least one base each.
        pad_id: what fills the shorter ones.
        side: `right` or `left`, where the filling goes.
    """
    lengths = np.array([row.size for row in rows], dtype=np.int64)
    longest = -(-int(lengths.max()) // 8) * 8
    tokens = np.full((len(rows), longest), pad_id, dtype=np.uint8)
    for filled, row in zip(tokens, rows, strict=True):
        if side == "left":
            filled[tokens.shape[1] - row.size :] = row
        else:
            filled[: row.size] = row
    return tokens, lengths


class LabelledStream(IterableDataset[Batch]):
    """Endless training batches, each all that one rank reads for an optimiser step.

    Every example is read once an epoch, in an order of that epoch's own; sample number i is the i-th read
    since the beginning. What a sample is, its crop and its strand included, is a pure function of the seed
    and that number, so that a resumed run needs only the step.

    Args:
        examples: the sequences.
        rows: int64 [n], the examples to read.
        values: labels of all examples.
        alphabet: of the tokens.
        crop: how long a sequence may be, and which part of a longer one is read.
        reverse_complement: read either strand with equal odds.
        padding: `right` or `left`.
        seed: of order, crop and strand.
        share: samples a step of one rank.
        rank, world_size: which share of a step.
        start_step: the optimiser step to begin with.
    """

    def __init__(
        self,
        examples: Examples,
        rows: Int64s,
        values: NDArray[Any],
        alphabet: Alphabet,
        *,
        crop: Crop,
        reverse_complement: bool,
        padding: str,
        seed: int,
        share: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        self.examples, self.rows, self.values, self.alphabet = examples, rows, values, alphabet
        self.crop, self.reverse_complement, self.padding = crop, reverse_complement, padding
        self.seed, self.share = seed, share
        self.rank, self.world_size, self.start_step = rank, world_size, start_step

    def __iter__(self) -> Iterator[Batch]:
        for step in worker_steps(self.start_step):
            start = (step * self.world_size + self.rank) * self.share
            yield self.batch(np.arange(start, start + self.share, dtype=np.int64))

    def example_of(self, samples: Int64s) -> Int64s:
        """Return the numbers of these samples' examples: int64, of the shape of `samples`."""
        number = len(self.rows)
        key = random_bits(self.seed, _ORDER_STREAM, samples // number)
        return self.rows[permuted(samples % number, number, key)]

    def batch(self, samples: Int64s) -> Batch:
        """Return the samples with these numbers."""
        chosen = self.example_of(samples)
        place = random_bits(self.seed, _CROP_STREAM, samples)
        strand = random_bits(self.seed, _STRAND_STREAM, samples) >> np.uint64(63)
        rows = []
        for example, random, reverse in zip(chosen.tolist(), place.tolist(), strand.tolist(), strict=True):
            row = self.crop.take(self.examples[example], random)
            rows.append(self.alphabet.reverse_complement(row) if self.reverse_complement and reverse else row)
        return batch_of(rows, self.values[chosen], samples, self.alphabet.pad_id, self.padding)


class LabelledRows(Dataset[Batch]):
    """The evaluation batches of one rank: each example once, those of like length together.

    Of a sequence longer than the crop, the same part is read every time. `index` counts the examples.
    """

    def __init__(
        self,
        examples: Examples,
        rows: Int64s,
        values: NDArray[Any],
        alphabet: Alphabet,
        *,
        crop: Crop,
        padding: str,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.examples, self.values, self.alphabet = examples, values, alphabet
        self.crop, self.padding, self.batch_size = crop, padding, batch_size
        self.rows = rows[np.argsort(examples.lengths[rows], kind="stable")][rank::world_size]

    def __len__(self) -> int:
        return -(-self.rows.size // self.batch_size)

    def __getitem__(self, item: int) -> Batch:
        if not 0 <= item < len(self):
            raise IndexError(item)
        chosen = self.rows[item * self.batch_size : (item + 1) * self.batch_size]
        rows = [self.crop.take(self.examples[example], None) for example in chosen.tolist()]
        return batch_of(rows, self.values[chosen], chosen, self.alphabet.pad_id, self.padding)


def batch_of(rows: Sequence[Ids], values: NDArray[Any], index: Int64s, pad_id: int, side: str) -> Batch:
    """Return rows of ids, their labels and numbers, as a batch.

    Args:
        rows: ids of each sequence, uint8 [length].
        values: the labels, [B] or [B, C].
        index: int64 [B], the examples' numbers.
        pad_id: id of the padding.
        side: `right` or `left`.
    """
    tokens, lengths = padded(rows, pad_id, side)
    return {
        "tokens": torch.from_numpy(tokens),
        "lengths": torch.from_numpy(lengths),
        "labels": torch.from_numpy(values),
        "index": torch.from_numpy(index),
    }
