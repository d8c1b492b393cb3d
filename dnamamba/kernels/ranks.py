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

    def gather(self, x: Tensor) -> Tensor:
        """Everyone's `x`, of one dimension or more: [size, *x.shape], in the order of the ranks."""
        found = x.new_empty(self.size, *x.shape)
        _gather(found.flatten(0, 1), x.contiguous(), self.group)
        return found


def rows_before(rows: Tensor, first: Tensor | None, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """What stands before a rank's part, and what stands at the end of the sequence.

    Args:
        rows: [B, K, E], the last rows of this rank's part.
        first: [B, K, E], those before the sequence; None is zeros.
        ranks: that hold the sequence.

    Returns:
        The rows before this rank's part and the last rows of the last rank, both [B, K, E].
    """
    found = ranks.gather(rows)
    if ranks.rank:
        before = found[ranks.rank - 1]
    else:
        before = torch.zeros_like(rows) if first is None else first.to(rows.dtype)
    return before, found[-1]


def rows_before_backward(before: Tensor, last: Tensor | None, ranks: Ranks) -> tuple[Tensor | None, Tensor]:
    """The gradients of `rows_before`'s `rows` and `first`, given those of what it returned."""
    found = ranks.gather(before)
    return (found[ranks.rank + 1] if ranks.rank + 1 < ranks.size else last), found[0]


class RowsBefore(torch.autograd.Function):
    """`rows_before`, differentiable."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, first: Tensor | None, ranks: Ranks) -> tuple[Tensor, Tensor]:
        ctx.ranks = ranks
        ctx.first = None if first is None else first.dtype
        return rows_before(rows, first, ranks)

    @staticmethod
    def backward(ctx: Any, before: Tensor, last: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, first = rows_before_backward(before, last, ctx.ranks)
        return rows, None if ctx.first is None else first.to(ctx.first), None
