"""What simple models reach on the same split: a constant, and linear models of words and of positions.

They are fitted on training sequences as they lie in the data, on the strand that is given. Their answers are
logits of the run's head, so that its metrics, intervals and labels hold for them too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from dnamamba.data.words import Bases, Floats, one_hot, word_shares
from dnamamba.datasets.base import DataModule
from dnamamba.heads.base import Head
from dnamamba.models.pooling import base_table
from dnamamba.objectives.sequence import Scored
from dnamamba.training.fits.linear import Linear, fit_linear

WORDS = (1, 2, 3, 4, 5, 6)
# What bounds a fit: features of all training sequences times logits (float32: 128 MB), and bases read.
MOST_VALUES = 1 << 25
MOST_SEQUENCES = 20_000
MOST_BASES = 1 << 26
# One-hot vectors of longer sequences have more features than the sequences that MOST_VALUES leaves.
LONGEST = 2_048


class Split(NamedTuple):
    """Sequences of a split.

    Attributes:
        rows: bases of each, the numbers of `base_table`.
        labels: [n] or [n, C].
        examples: int64 [n], their numbers.
    """

    rows: list[Bases]
    labels: Tensor
    examples: Tensor

    def part(self, most: int) -> "Split":
        """Return at most `most` of them, evenly spaced."""
        if len(self.rows) <= most:
            return self
        chosen = np.linspace(0, len(self.rows) - 1, most).astype(np.int64)
        places = torch.from_numpy(chosen)
        return Split([self.rows[place] for place in chosen], self.labels[places], self.examples[places])


@dataclass(frozen=True)
class Baseline:
    """A simple model's answers.

    Attributes:
        name: such as `5-mer logistic`.
        settings: what was chosen, and how many training sequences were read.
        scored: by split, in the order of the run's own.
        answer: logits of any sequences, float64 [n, C].
    """

    name: str
    settings: dict[str, Any]
    scored: dict[str, Scored]
    answer: Callable[[list[Bases]], Tensor]


@dataclass(frozen=True)
class Fitted:
    """All that was fitted on a run's data.

    Attributes:
        constant, words, positions: None where these sequences allow none.
        notes: a sentence on each that they don't.
        valid: the validation sequences.
    """

    constant: Baseline | None = None
    words: Baseline | None = None
    positions: Baseline | None = None
    notes: tuple[str, ...] = ()
    valid: Split | None = None

    @property
    def all(self) -> list[Baseline]:
        """Those that there are."""
        return [one for one in (self.constant, self.words, self.positions) if one is not None]


class Baselines:
    """Fits simple models on a run's data, once.

    Args:
        head: of the run.
        weights: of its classes, or None.
        data: of the run.
    """

    def __init__(self, head: Head, weights: Tensor | None, data: DataModule) -> None:
        self.head = head
        self.weights = weights
        self.data = data
        self.table = base_table(data.alphabet.name)
        self._fitted_once: Fitted | None = None

    def fit(self, console: Console) -> Fitted:
        """Return the baselines that these sequences allow."""
        if self._fitted_once is None:
            # Loaders draw from the global generator, which the run's weights come from.
            with _alone(self.data), torch.inference_mode(False), torch.random.fork_rng(devices=[]):
                self._fitted_once = self._fit(console)
        return self._fitted_once

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the head's loss of each sequence, [n]."""
        weights = None if self.weights is None else self.weights.to(logits.dtype)
        return self.head.loss(logits, labels, weights, 0.0)

    def _fit(self, console: Console) -> Fitted:
        with console.status("reading the sequences again"):
            splits = {}
            for split, loader in self.data.held_out_loaders():
                found = self._gather(loader, np.iinfo(np.int64).max, MOST_BASES)
                if found is None:
                    return Fitted(
                        notes=(f"no baselines: {split} has more than {MOST_BASES:,} bases to hold in memory",)
                    )
                splits[split] = found
            batches = self.data.training_batches(MOST_SEQUENCES, MOST_BASES)
            train = self._gather(batches, MOST_SEQUENCES, MOST_BASES, cut=True)
        assert train is not None
        valid = splits["valid"]
        constant = self._constant(train, splits)
        with console.status("fitting k-mers"):
            words = self._words(train, splits)
        lengths = {row.size for split in (train, *splits.values()) for row in split.rows}
        if len(lengths) > 1:
            return Fitted(constant, words, valid=valid)
        if max(lengths) > LONGEST:
            note = f"no one-hot baseline: sequences are longer than {LONGEST:,} bases"
            return Fitted(constant, words, notes=(note,), valid=valid)
        with console.status("fitting one-hot vectors"):
            return Fitted(constant, words, self._positions(train, splits), valid=valid)

    def _constant(self, train: Split, splits: dict[str, Split]) -> Baseline:
        """Return the best answer that does not look at the sequence."""

        def nothing(rows: list[Bases]) -> Floats:
            return np.zeros((len(rows), 0), dtype=np.float32)

        model, _ = self._fitted(nothing, train, splits["valid"])
        return self._answers(self.head.constant, {}, model, nothing, train, splits)

    def _words(self, train: Split, splits: dict[str, Split]) -> Baseline:
        """Return k-mer features of the length that is best on validation; longer ones while they gain."""
        best: tuple[float, int, Linear, Split] | None = None
        for size in WORDS:
            part = train.part(self._most(4**size))
            model, loss = self._fitted(lambda rows, k=size: word_shares(rows, k), part, splits["valid"])
            if best is not None and not loss < best[0]:
                break
            best = loss, size, model, part
        assert best is not None
        _, size, model, part = best
        name = f"{size}-mer {self.head.linear}"
        return self._answers(name, {"k": size}, model, lambda rows: word_shares(rows, size), part, splits)

    def _positions(self, train: Split, splits: dict[str, Split]) -> Baseline:
        """Return one-hot features of the base at each position."""
        part = train.part(self._most(4 * train.rows[0].size))
        model, _ = self._fitted(one_hot, part, splits["valid"])
        return self._answers(f"one-hot {self.head.linear}", {}, model, one_hot, part, splits)

    def _most(self, features: int) -> int:
        """Return how many training sequences of so many features a fit may read."""
        return max(1, MOST_VALUES // (features * len(self.head.labels)))

    def _fitted(self, features: Any, train: Split, valid: Split) -> tuple[Linear, float]:
        """Return a linear model and its validation loss; of a large validation a part chooses."""
        valid = valid.part(len(train.rows))
        pairs = [(torch.from_numpy(features(of.rows)), of.labels) for of in (train, valid)]
        return fit_linear(pairs[0], pairs[1], len(self.head.labels), self.losses)

    def _answers(
        self,
        name: str,
        settings: dict[str, Any],
        model: Linear,
        features: Any,
        train: Split,
        splits: dict[str, Split],
    ) -> Baseline:
        """Predict with a fitted model for every held-out sequence, some at a time."""

        def answer(rows: list[Bases]) -> Tensor:
            parts = (torch.from_numpy(features(rows[i : i + 4096])) for i in range(0, len(rows), 4096))
            return torch.cat([model.logits(part) for part in parts])

        scored = {split: Scored(of.examples, answer(of.rows), of.labels) for split, of in splits.items()}
        settings = settings | {"penalty": model.penalty, "training_sequences": len(train.rows)}
        return Baseline(name, settings, scored, answer)

    def _gather(self, batches: Any, sequences: int, bases: int, cut: bool = False) -> Split | None:
        """Return the sequences of batches in the order of their numbers; None if they have too many bases.

        Args:
            batches: see `dnamamba.objectives.base.Batch`.
            sequences, bases: the most of each.
            cut: stop there instead.
        """
        rows: list[Bases] = []
        labels, examples, done = [], [], 0
        for batch in batches:
            tokens = self.table[batch["tokens"].int()].numpy()
            width = tokens.shape[1]
            lengths = batch.get("lengths", torch.full((len(tokens),), width)).tolist()
            left = self.data.padding == "left"
            for row, length in zip(tokens, lengths, strict=True):
                rows.append(row[width - length :] if left else row[:length])
            done += sum(lengths)
            labels.append(batch["labels"])
            examples.append(batch["index"])
            if done > bases and not cut:
                return None
            if len(rows) >= sequences or done > bases:
                break
        order = torch.cat(examples).argsort(stable=True)
        ordered = [rows[place] for place in order.tolist()]
        return Split(ordered, torch.cat(labels)[order].to(self.head.dtype), torch.cat(examples)[order])


@contextmanager
def _alone(data: DataModule) -> Iterator[None]:
    """Give every example to this process, whatever the run's processes are: the first one fits alone."""
    trainer, data.trainer = data.trainer, None
    try:
        yield
    finally:
        data.trainer = trainer
