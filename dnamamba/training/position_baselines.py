"""What simple models make of the same bases or bins.

Of classes the majority, the bases around each and a hidden Markov model; of signal the mean and words around.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.intervals import Interval
from dnamamba.data.words import word_shares
from dnamamba.datasets.positions import PositionsData
from dnamamba.heads.positions import PositionHead
from dnamamba.heads.signal import Signal
from dnamamba.models.pooling import base_table
from dnamamba.terminal import Console
from dnamamba.training.fits.context import FLANK, fit_context
from dnamamba.training.fits.hmm import HiddenMarkov, fit_hmm
from dnamamba.training.fits.linear import Linear, fit_linear

ORDERS = (2, 3, 4, 5)
WORDS = (1, 2, 3, 4, 5)
FLANK_OF_BIN = 64  # bases to either side of a bin whose words count
MOST_BINS = 10_000
MOST_BASES = 1 << 27  # of training and held-out records together, that are held as words of eight bytes

Bases = NDArray[np.uint8]
Record = tuple[Bases, NDArray[Any]]


class PositionBaseline(NamedTuple):
    """A simple model's answers.

    Attributes:
        name: such as `order-3 HMM`.
        settings: what was chosen.
        logits: of each held-out split, float32 [n, C], in the order of its intervals.
    """

    name: str
    settings: dict[str, Any]
    logits: dict[str, Tensor]


def class_baselines(data: PositionsData, head: PositionHead, console: Console) -> list[PositionBaseline]:
    """Fit baselines of classes per base; none for a genome too large to hold in memory.

    Args:
        data: of the run.
        head: of the run.
        console: shows what is fitted.
    """
    if sum(data.genome.lengths.values()) > MOST_BASES:
        return []
    splits = {
        split: [_record(data, one) for one in getattr(data.splits, split)] for split in data.splits._fields
    }
    held = {split: splits[split] for split in ("valid", "test")}
    classes = len(head.labels)

    def everywhere(answer: Callable[[Bases], Tensor]) -> dict[str, Tensor]:
        return {split: torch.cat([answer(bases) for bases, _ in records]) for split, records in held.items()}

    with console.status("fitting baselines: the bases around each"):
        # Shares, as the score of a class that is asked for: what does not look is right that often.
        counts = np.array(data.train_counts[0], dtype=np.float64)
        shares = torch.from_numpy(np.log(np.maximum(counts, 0.5) / counts.sum())).float()
        majority = PositionBaseline("majority class", {}, everywhere(lambda b: shares.expand(b.size, -1)))
        context = fit_context(splits["train"], splits["valid"], classes)
        settings = {"bases": 2 * FLANK + 1, "penalty": context.model.penalty}
        around = PositionBaseline(f"{2 * FLANK + 1}-base logistic", settings, everywhere(context.logits))
    truth = torch.cat([torch.from_numpy(np.array(labels)) for _, labels in held["valid"]])
    best: tuple[float, PositionBaseline] | None = None
    for order in ORDERS:
        with console.status(f"fitting baselines: a hidden Markov model of order {order}"):
            hmm = fit_hmm(splits["train"], classes, order)
            found = everywhere(partial(_posteriors, hmm))
            loss = head.loss_sum(found["valid"], truth, None).item()
        if best is not None and not loss < best[0]:
            break
        best = loss, PositionBaseline(f"order-{order} HMM", {"order": order}, found)
    assert best is not None
    return [majority, around, best[1]]


def signal_baselines(data: PositionsData, head: PositionHead, console: Console) -> list[PositionBaseline]:
    """Fit baselines of numbers per bin: their mean, and a linear model of k-mers in and around it.

    Args:
        data: of the run.
        head: of the run.
        console: shows what is fitted.
    """
    decoder = head.decoder
    tracks, extra = len(head.labels), head.outputs - len(head.labels)
    # Of a window's shape and total, or of a dispersion, a linear model of a bin knows nothing.
    simple = cast(Signal, head if decoder.loss == "mse" else replace(decoder, loss="poisson").head)
    held = {split: [_record(data, one) for one in getattr(data.splits, split)] for split in ("valid", "test")}

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        return simple.losses(logits, targets).sum(-1)

    def everywhere(answer: Callable[[Bases], Tensor]) -> dict[str, Tensor]:
        found = {split: torch.cat([answer(bases) for bases, _ in records]) for split, records in held.items()}
        return {
            split: torch.cat([rows, rows.new_zeros(len(rows), extra)], 1) for split, rows in found.items()
        }

    mean = PositionBaseline(
        "mean", {}, everywhere(lambda bases: torch.zeros(-(-bases.size // decoder.bin), tracks))
    )
    train, valid = (_bins(data, getattr(data.splits, split)) for split in ("train", "valid"))
    best: tuple[float, int, Linear] | None = None
    for size in WORDS:
        with console.status(f"fitting baselines: {size}-mers"):
            fits, held_out = (
                (torch.from_numpy(word_shares(rows, size)), targets) for rows, targets in (train, valid)
            )
            model, loss = fit_linear(fits, held_out, tracks, losses)
        if best is not None and not loss < best[0]:
            break
        best = loss, size, model
    assert best is not None
    _, size, model = best

    def answer(bases: Bases) -> Tensor:
        rows = around_bins(bases, np.arange(-(-bases.size // decoder.bin)), decoder.bin)
        parts = (torch.from_numpy(word_shares(rows[i : i + 4096], size)) for i in range(0, len(rows), 4096))
        return torch.cat([model.logits(part) for part in parts]).float()

    settings = {"k": size, "flank": FLANK_OF_BIN, "penalty": model.penalty}
    return [mean, PositionBaseline(f"{size}-mer linear", settings, everywhere(answer))]


def _bins(data: PositionsData, intervals: tuple[Interval, ...]) -> tuple[list[Bases], Tensor]:
    """Return bases in and around at most `MOST_BINS` evenly spaced bins, and their targets."""
    size = data.targets.bin
    records = [_record(data, one) for one in intervals]
    every = max(1, -(-sum(len(targets) for _, targets in records) // MOST_BINS))
    rows: list[Bases] = []
    found = []
    for bases, targets in records:
        places = np.arange(0, len(targets), every)
        rows += around_bins(bases, places, size)
        found.append(torch.from_numpy(targets[places]))
    return rows, torch.cat(found)


def around_bins(bases: Bases, places: NDArray[np.int64], size: int) -> list[Bases]:
    """Return the bases of some bins with `FLANK_OF_BIN` to either side, as many as the record has.

    Args:
        bases: uint8 [n], the numbers of `base_table`.
        places: int64 [bins], numbers of the bins.
        size: bases of a bin.
    """
    starts = places * size
    return [bases[max(0, start - FLANK_OF_BIN) : start + size + FLANK_OF_BIN] for start in starts.tolist()]


def _posteriors(hmm: HiddenMarkov, bases: Bases) -> Tensor:
    return torch.from_numpy(hmm.log_posteriors(bases)).float()


def _record(data: PositionsData, one: Interval) -> Record:
    """Return bases, the numbers of `base_table`, and targets of an interval."""
    table = base_table(data.alphabet.name).numpy()
    ids = data.genome.fetch(one.name, one.start, one.end)
    return table[ids], data.targets.of(one.name, one.start, one.length)
