"""What simple models make of the same bases: the majority, the bases around each, a hidden Markov model."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.intervals import Interval
from dnamamba.datasets.positions import PositionsData
from dnamamba.heads.positions import PositionHead
from dnamamba.models.pooling import base_table
from dnamamba.terminal import Console
from dnamamba.training.fits.context import FLANK, fit_context
from dnamamba.training.fits.hmm import HiddenMarkov, fit_hmm

ORDERS = (2, 3, 4, 5)
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
    """Baselines of classes per base; none of a genome that is too large to hold.

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


def _posteriors(hmm: HiddenMarkov, bases: Bases) -> Tensor:
    return torch.from_numpy(hmm.log_posteriors(bases)).float()


def _record(data: PositionsData, one: Interval) -> Record:
    """Bases, the numbers of `base_table`, and targets of an interval."""
    table = base_table(data.alphabet.name).numpy()
    ids = data.genome.fetch(one.name, one.start, one.end)
    return table[ids], data.targets.of(one.name, one.start, one.length)
