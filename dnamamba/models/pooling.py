"""Many positions to one vector, over the positions that hold a known base: neither N nor padding.

One meaning for heads, embeddings and variant effects: `mean` is the mean of the hidden states at known bases,
`last` the one at the last of them, `next` four sums side by side, one for each of A, C, G, T: of the hidden
states before that base, divided by the number of known bases.
"""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dnamamba.data.alphabet import get_alphabet
from dnamamba.kernels.exact import exact, exact_zeros

Mode = Literal["last", "mean", "next"]
MODES: tuple[Mode, ...] = get_args(Mode)

BASES = 4
OTHER, UNKNOWN = BASES, BASES + 1


def base_table(alphabet: str) -> Tensor:
    """Return uint8 [256]: 0 to 3 for ids of A, C, G, T in either case, `UNKNOWN` for N, else `OTHER`."""
    # By NumPy: a model that is built on the device meta, to be given its weights, needs it all the same.
    letters = get_alphabet(alphabet)
    table = np.where(letters.scored, OTHER, UNKNOWN).astype(np.uint8)
    table[letters.encode("Nn")] = UNKNOWN
    for bases in ("ACGT", "acgt"):
        table[letters.encode(bases)] = range(BASES)
    return torch.from_numpy(table)


def complement_ids(alphabet: str) -> Tensor:
    """Return uint8 [256], id to id of the other strand."""
    return torch.from_numpy(get_alphabet(alphabet).complement.copy())


def within(bases: Tensor, lengths: Tensor | None) -> Tensor:
    """Set bases [B, L] behind each row's real positions, int64 [B], to `UNKNOWN`; None: all are real."""
    if lengths is None:
        return bases
    return bases.masked_fill(torch.arange(bases.shape[1], device=bases.device) >= lengths[:, None], UNKNOWN)


def pool(mode: str, hidden: Tensor, bases: Tensor, lengths: Tensor | None) -> Tensor:
    """Pool hidden states [B, L, D], padded on the right: [B, D], with mode `next` [B, 4 * D].

    A row without a known base is zeros.

    Args:
        mode: one of `MODES`.
        hidden: padding included.
        bases: [B, L], the numbers of `base_table` at each position.
        lengths: int64 [B], real positions, whatever the tokens behind them are; None: all.
    """
    bases = within(bases, lengths)
    if mode == "mean":
        known = bases != UNKNOWN
        # Not the product of `part`: it rounds otherwise, and a run that is resumed keeps its bits.
        return (hidden * known[..., None]).sum(1) / known.sum(1).clamp(min=1)[:, None]
    value, count = part(mode, hidden, bases)
    return (
        value.masked_fill(count[:, None] == 0, 0) if mode == "last" else value / count.clamp(min=1)[:, None]
    )


def part(mode: str, hidden: Tensor, bases: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return what a piece adds to each row's pooled vector.

    Args:
        mode: one of `MODES`.
        hidden: [B, l, D].
        bases: [B, l], the numbers of `base_table`.
        before: [B, D], the hidden state ahead of the piece, which mode `next` needs; None: there is none.

    Returns:
        The sum over known bases, or the vector at the last of them, [B, D] ([B, 4 * D]); the number of known
        bases, int64 [B].
    """
    known = bases != UNKNOWN
    count = known.sum(1)
    if mode == "mean":
        return _sums(hidden, known[:, None]), count
    if mode == "next":
        # The piece's first base is the next one of the last position before it.
        if before is None:
            hidden, bases = hidden[:, :-1], bases[:, 1:]
        else:
            hidden = torch.cat([before[:, None], hidden[:, :-1]], 1)
        return _sums(hidden, bases[:, None] == torch.arange(BASES, device=bases.device)[:, None]), count
    place = torch.arange(known.shape[1], device=known.device)
    last = torch.where(known, place, 0).amax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last], count


def part_bins(mode: str, hidden: Tensor, bases: Tensor, size: int, lead: int = 0) -> tuple[Tensor, Tensor]:
    """Return `part` of every `size` positions of [1, L, D]; `lead` positions are missing before the first.

    Args:
        mode: one of `MODES` other than `next`.
        hidden: [1, L, D].
        bases: [1, L], the numbers of `base_table`.
        size: positions of a bin.
        lead: positions of the first bin that were read before.

    Returns:
        As `part`, [bins, D] and [bins].
    """
    length, width = hidden.shape[1:]
    bins = -(-(lead + length) // size)
    tail = bins * size - lead - length
    if lead or tail:
        hidden = torch.nn.functional.pad(hidden, (0, 0, lead, tail))
        bases = torch.nn.functional.pad(bases, (lead, tail), value=UNKNOWN)
    return part(mode, hidden.view(bins, size, width), bases.view(bins, size))


class Pooled:
    """Vectors that are pooled from several pieces each; sums are kept in float64.

    Args:
        mode: one of `MODES`.
        rows: number of vectors.
        width: of a vector.
        device: of what is added.
    """

    def __init__(self, mode: str, rows: int, width: int, device: torch.device | str = "cpu") -> None:
        self._last = mode == "last"
        self._value = exact_zeros(rows, width, device=device)
        self.count = torch.zeros(rows, dtype=torch.int64, device=self._value.device)

    def add(self, value: Tensor, count: Tensor, first: int = 0) -> None:
        """Add what `part` gave for rows `first`, `first` + 1, ...; later pieces are read later.

        Args:
            value: [n, width], from `part`.
            count: int64 [n], known bases, from `part`.
            first: the row that `value[0]` goes to.
        """
        rows = slice(first, first + len(count))
        value, count = exact(value), count.to(self._value.device)
        if self._last:
            self._value[rows] = torch.where(count[:, None] > 0, value, self._value[rows])
        else:
            self._value[rows] += value
        self.count[rows] += count

    def values(self, nothing: float) -> Tensor:
        """Return float64 [rows, width]; `nothing` in the rows without a known base."""
        count = self.count[:, None]
        value = self._value if self._last else self._value / count.clamp(min=1)
        return value.masked_fill(count == 0, nothing)


class PooledPieces:
    """`pool` of sequences whose hidden states come piece by piece.

    Args:
        mode: one of `MODES`.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._pooled: Pooled | None = None
        self._before: Tensor | None = None

    def add(self, hidden: Tensor, bases: Tensor) -> None:
        """Add the next piece: [B, l, D], and its bases [B, l] as `pool` takes them."""
        value, count = part(self._mode, hidden, bases, self._before)
        if self._pooled is None:
            self._pooled = Pooled(self._mode, len(value), value.shape[1], value.device)
        self._pooled.add(value, count)
        self._before = hidden[:, -1]

    def result(self) -> Tensor:
        """Return the pooled vector of all pieces so far, in their dtype; zeros where no base is known."""
        assert self._pooled is not None, "no piece was given"
        assert self._before is not None
        return self._pooled.values(nothing=0.0).to(self._before.dtype).to(self._before.device)


def _sums(hidden: Tensor, groups: Tensor) -> Tensor:
    """Sum hidden [B, L, D] by group, bool [B, G, L]: [B, G * D], at least float32."""
    kind = torch.promote_types(hidden.dtype, torch.float32)
    # Autocast would add up a whole sequence in half precision.
    with torch.autocast(hidden.device.type, enabled=False):
        return torch.bmm(groups.to(kind), hidden.to(kind)).flatten(1)
