"""Pooling over positions as a sum of terms of chunks: a product with weights that are known beforehand.

As targets and terms of `chunked_backward`:

    weights = PoolingWeights("mean", base_table("dna")[tokens.long()])
    loss = chunked_backward(backbone, tokens, 2**16, weights, pooled, lambda vector: loss_of(head(vector)))
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dnamamba.models.pooling import BASES, UNKNOWN, within


@dataclass(frozen=True)
class PoolingWeights:
    """What each position counts in `dnamamba.models.pooling.pool`, chunk by chunk.

    Args:
        mode: `last`, `mean` or `next`.
        bases: uint8 [B, L], the numbers of `dnamamba.models.pooling.base_table` at each position.
        lengths: int64 [B], real positions of each row; positions behind them are ignored. None: all.
        dtype: of weights that are not 0 or 1, and of the sums that they make.
    """

    mode: str
    bases: Tensor
    lengths: Tensor | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        object.__setattr__(self, "bases", within(self.bases, self.lengths))

    def __call__(self, span: slice) -> Tensor:
        """Return weights [B, P, T] of a span's positions, `dtype` or bool; P is 4 in mode `next`, else 1."""
        position = torch.arange(span.start, span.stop, device=self.bases.device)
        if self.mode == "last":
            return (position == self._last[:, None])[:, None]
        if self.mode == "mean":
            return ((self._of(span) != UNKNOWN) / self._count[:, None])[:, None]
        following = self._of(slice(span.start + 1, span.stop + 1))
        kinds = torch.arange(BASES, device=position.device)
        return (following[:, None] == kinds[:, None]) / self._count[:, None, None]

    def _of(self, span: slice) -> Tensor:
        """Return the bases of a span, `UNKNOWN` beyond the end."""
        found = self.bases[:, span]
        beyond = span.stop - span.start - found.shape[1]
        return torch.nn.functional.pad(found, (0, beyond), value=UNKNOWN)

    @cached_property
    def _count(self) -> Tensor:
        """[B], of `dtype`: known bases."""
        return (self.bases != UNKNOWN).sum(1).clamp(min=1).to(self.dtype)

    @cached_property
    def _last(self) -> Tensor:
        """int64 [B], the place of the last known base; -1 where there is none, so that nothing counts."""
        place = torch.arange(self.bases.shape[1], device=self.bases.device)
        return torch.where(self.bases != UNKNOWN, place, -1).amax(1)


def pooled(hidden: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sums of hidden states [B, T, D] side by side: [B, P * D], at least float32."""
    kind = torch.promote_types(hidden.dtype, torch.float32)
    # Autocast would add up a whole sequence in half precision.
    with torch.autocast(hidden.device.type, enabled=False):
        return torch.bmm(weights.to(kind), hidden.to(kind)).flatten(1)
