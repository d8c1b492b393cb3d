"""One sequence on several processes: what crosses their borders.

Rank r holds the r-th of equal, contiguous parts of every sequence. An operation along the sequence then takes
the state before the whole sequence and returns the state after all of it, both the same on every rank; what a
part receives from the one before it is the operation's own affair. Everything crosses in one way: each rank
gives a small tensor and gets those of all. No rank waits for another one's work along the sequence.

Gradients are those of the sum over all ranks' losses. Parameters and states are the same on every rank: the
gradient of a state is whole on each, that of a parameter is each rank's share, to be summed.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# torch 2.13 has another name for it, and warns of the old one.
_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@dataclass(frozen=True)
class Ranks:
    """The processes that hold a sequence together, in its order.

    Args:
        group: of `torch.distributed`.
    """

    group: dist.ProcessGroup

    @property
    def rank(self) -> int:
        """This process's place in the sequence, from 0."""
        return dist.get_rank(self.group)

    @property
    def size(self) -> int:
        """How many there are."""
        return dist.get_world_size(self.group)

    def part(self, x: Tensor) -> Tensor:
        """Return this rank's part [B, L / size, ...] of [B, L, ...]."""
        return x.unflatten(1, (self.size, -1))[:, self.rank]

    def least(self, number: int) -> int:
        """Return the least of everyone's numbers."""
        numbers: list[Any] = [None] * self.size
        dist.all_gather_object(numbers, number, self.group)
        return int(min(numbers))

    def gather(self, x: Tensor) -> Tensor:
        """Return everyone's `x`, of one dimension or more: [size, *x.shape], in the order of the ranks."""
        found = x.new_empty(self.size, *x.shape)
        _gather(found.flatten(0, 1), x.contiguous(), self.group)
        return found


def rows_before(rows: Tensor, first: Tensor | None, kept: int, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return the rows before a rank's part, and those at the end of the sequence.

    Args:
        rows: [B, R, E], the last rows of this rank's part: `kept`, or all of a shorter part.
        first: [B, kept, E], those before the sequence; None is zeros.
        kept: how many rows to look back, at least 1.
        ranks: that hold the sequence.

    Returns:
        The rows before this rank's part and the last rows of the sequence, both [B, kept, E].
    """
    if first is None:
        first = rows.new_zeros(rows.shape[0], kept, rows.shape[2])
    # Where parts are short, the rows before a part are those of several ranks.
    line = torch.cat([first.to(rows.dtype), *ranks.gather(rows)], dim=1)
    start = ranks.rank * rows.shape[1]
    return line[:, start : start + kept], line[:, -kept:]


def rows_before_backward(
    before: Tensor, last: Tensor | None, count: int, ranks: Ranks
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `rows_before`'s `rows`, of which there are `count`, and `first`.

    Args:
        before: [B, kept, E], the gradient of the rows before this rank's part.
        last: [B, kept, E], the gradient of the sequence's last rows, or None.
        count: rows of this rank's part that were given.
        ranks: that hold the sequence.
    """
    kept = before.shape[1]
    line = before.new_zeros(before.shape[0], kept + ranks.size * count, before.shape[2])
    for rank, of_rank in enumerate(ranks.gather(before)):
        line[:, rank * count : rank * count + kept] += of_rank
    if last is not None:
        line[:, -kept:] += last
    start = kept + ranks.rank * count
    return line[:, start : start + count], line[:, :kept]


class RowsBefore(torch.autograd.Function):
    """`rows_before`, differentiable."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, first: Tensor | None, kept: int, ranks: Ranks
    ) -> tuple[Tensor, Tensor]:
        ctx.count, ctx.ranks = rows.shape[1], ranks
        ctx.first = None if first is None else first.dtype
        return rows_before(rows, first, kept, ranks)

    @staticmethod
    def backward(ctx: Any, before: Tensor, last: Tensor) -> tuple[Tensor | None, ...]:
        rows, first = rows_before_backward(before, last, ctx.count, ctx.ranks)
        return rows, None if ctx.first is None else first.to(ctx.first), None, None
