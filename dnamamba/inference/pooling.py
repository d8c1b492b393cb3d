"""Many positions to one vector, over the positions that hold a known base."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.alphabet import Alphabet

Pooling = Literal["mean", "last", "none"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


def known_bases(alphabet: Alphabet) -> Tensor:
    """bool [256]: the ids that pooling looks at, neither N nor padding."""
    known = alphabet.scored.copy()
    known[alphabet.encode("Nn")] = False
    return torch.from_numpy(known)


def pool(hidden: Tensor, known: Tensor, pooling: str) -> tuple[Tensor, Tensor]:
    """Pool each row.

    Args:
        hidden: [n, p, D].
        known: bool [n, p].
        pooling: `mean` or `last`.

    Returns:
        The sum over known positions, or the vector at the last of them, [n, D]; and their number, [n].
    """
    count = known.sum(1)
    if pooling == "mean":
        return torch.bmm(known.to(hidden.dtype)[:, None], hidden)[:, 0], count
    place = torch.arange(known.shape[1], device=known.device)
    last = torch.where(known, place, 0).amax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last], count


def pool_bins(hidden: Tensor, known: Tensor, size: int, pooling: str, lead: int = 0) -> tuple[Tensor, Tensor]:
    """Pool every `size` positions of [1, L, D]; `lead` positions are missing before the first.

    Returns:
        As `pool`, [bins, D] and [bins].
    """
    length, width = hidden.shape[1:]
    bins = -(-(lead + length) // size)
    tail = bins * size - lead - length
    if lead or tail:
        hidden = torch.nn.functional.pad(hidden, (0, 0, lead, tail))
        known = torch.nn.functional.pad(known, (lead, tail))
    return pool(hidden.view(bins, size, width), known.view(bins, size), pooling)


class Pooled:
    """Rows that are pooled from several pieces each.

    Args:
        rows: number of rows.
        width: D.
        pooling: `mean` or `last`.
    """

    def __init__(self, rows: int, width: int, pooling: str) -> None:
        self.pooling = pooling
        self._value = np.zeros((rows, width), dtype=np.float64)
        self._count = np.zeros(rows, dtype=np.int64)

    def add(self, first: int, value: NDArray[Any], count: NDArray[Any]) -> None:
        """Add what `pool` gave for rows `first`, `first` + 1, ...; later pieces are read later."""
        rows = slice(first, first + len(count))
        if self.pooling == "mean":
            self._value[rows] += value
        else:
            self._value[rows] = np.where(count[:, None] > 0, value, self._value[rows])
        self._count[rows] += count

    def values(self) -> NDArray[np.float32]:
        """float32 [rows, D]; NaN where there was no known base."""
        number = self._count[:, None]
        divisor = number if self.pooling == "mean" else np.minimum(number, 1)
        with np.errstate(invalid="ignore"):
            return (self._value / divisor).astype(np.float32)
