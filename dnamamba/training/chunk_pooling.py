"""Pooling over positions as a sum of terms of chunks: a product with weights that are known beforehand.

As targets and terms of `chunked_backward`:

    weights = PoolingWeights("mean", lengths)
    loss = chunked_backward(backbone, tokens, 2**16, weights, pooled, lambda vector: loss_of(head(vector)))
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dnamamba.models.pooling import BASES, NO_BASE


@dataclass(frozen=True)
class PoolingWeights:
    """What each position counts in `dnamamba.models.pooling.pool`, chunk by chunk.

    Args:
        mode: `last`, `mean` or `next`.
        lengths: int64 [B], real positions of each row, at least 1; the padding is on the right.
        bases: of mode `next`, [B, L] of 0 to 3 for A, C, G, T at each position, or `NO_BASE`.
    """

    mode: str
    lengths: Tensor
    bases: Tensor | None = None

    def __call__(self, span: slice) -> Tensor:
        """Weights [B, P, T], float64 or bool, of the positions of a span; P is 4 of mode `next`, else 1."""
        position = torch.arange(span.start, span.stop, device=self.lengths.device)
        lengths = self.lengths[:, None]
        if self.mode == "last":
            return (position == lengths - 1)[:, None]
        if self.mode == "mean":
            return ((position < lengths) / lengths.double())[:, None]
        assert self.bases is not None
        following = self.bases[:, span.start + 1 : span.stop + 1]
        following = torch.nn.functional.pad(following, (0, len(position) - following.shape[1]), value=NO_BASE)
        real = (position + 1 < lengths) / lengths.double()
        kinds = torch.arange(BASES, device=position.device)
        return (following[:, None] == kinds[:, None]) * real[:, None]


def pooled(hidden: Tensor, weights: Tensor) -> Tensor:
    """The weighted sums of hidden states [B, T, D] side by side: [B, P * D], at least float32."""
    kind = torch.promote_types(hidden.dtype, torch.float32)
    # Autocast would add up a whole sequence in half precision.
    with torch.autocast(hidden.device.type, enabled=False):
        return torch.bmm(weights.to(kind), hidden.to(kind)).flatten(1)
