"""One vector of all positions' hidden states: the last, their mean, or their mean in parts by next base."""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dnamamba.data.alphabet import get_alphabet

Mode = Literal["last", "mean", "next"]
MODES: tuple[Mode, ...] = get_args(Mode)

BASES = 4
NO_BASE = BASES


def base_table(alphabet: str) -> Tensor:
    """uint8 [256], id to 0, 1, 2, 3 of A, C, G, T in either case, `NO_BASE` of anything else."""
    # By NumPy: a model that is built on the device meta, to be given its weights, needs it all the same.
    table = np.full(256, NO_BASE, dtype=np.uint8)
    for letters in ("ACGT", "acgt"):
        table[get_alphabet(alphabet).encode(letters)] = range(BASES)
    return torch.from_numpy(table)


def sums_by_base(hidden: Tensor, bases: Tensor) -> Tensor:
    """The sum of the hidden states of each base, side by side: [B, 4 * D], at least float32.

    Args:
        hidden: [B, L, D].
        bases: [B, L], of each position the number of a base, or `NO_BASE`: that position counts nowhere.
    """
    kind = torch.promote_types(hidden.dtype, torch.float32)
    belongs = bases[:, None] == torch.arange(BASES, device=bases.device)[:, None]
    # Autocast would add up a whole sequence in half precision.
    with torch.autocast(hidden.device.type, enabled=False):
        return torch.bmm(belongs.to(kind), hidden.to(kind)).flatten(1)


def pool(mode: str, hidden: Tensor, bases: Tensor | None, lengths: Tensor | None) -> Tensor:
    """Hidden states [B, L, D], padded on the right, as one vector a row: [B, D], of mode `next` [B, 4 * D].

    Args:
        mode: one of `MODES`.
        hidden: padding included.
        bases: of mode `next` [B, L], the numbers of `base_table` at each position; else None.
        lengths: int64 [B], real positions; None: all.
    """
    if mode == "next":
        assert bases is not None
        return _by_next_base(hidden, bases, lengths)
    if mode == "last":
        if lengths is None:
            return hidden[:, -1]
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    if lengths is None:
        return hidden.mean(1)
    return (hidden * _real(hidden, lengths)[..., None]).sum(1) / lengths[:, None]


class PoolingOfPieces:
    """`pool` of a sequence whose hidden states come piece by piece; sums are kept in float64.

    Args:
        mode: one of `MODES`.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.positions = 0
        self.total: Tensor | None = None
        self.last: Tensor | None = None

    def add(self, hidden: Tensor, bases: Tensor | None) -> None:
        """The next piece: [B, l, D], and its bases as `pool` takes them."""
        if self.mode == "next":
            assert bases is not None
            # The piece's first base is the next one of the last position before it.
            if self.last is None:
                found = sums_by_base(hidden[:, :-1], bases[:, 1:])
            else:
                found = sums_by_base(torch.cat([self.last[:, None], hidden[:, :-1]], 1), bases)
        else:
            found = hidden.sum(1, dtype=torch.float64)
        self.total = found.double() if self.total is None else self.total + found
        self.positions += hidden.shape[1]
        self.last = hidden[:, -1]

    def result(self) -> Tensor:
        """The pooled vector of all pieces so far."""
        assert self.last is not None, "no piece was given"
        assert self.total is not None
        return self.last if self.mode == "last" else (self.total / self.positions).to(self.last.dtype)


def _by_next_base(hidden: Tensor, bases: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return sums_by_base(hidden[:, :-1], bases[:, 1:]) / hidden.shape[1]
    bases = bases.masked_fill(~_real(hidden, lengths), NO_BASE)
    return sums_by_base(hidden[:, :-1], bases[:, 1:]) / lengths[:, None]


def _real(hidden: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
