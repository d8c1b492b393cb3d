"""Rows of different lengths read without their padding: one behind the other, in one row.

A backbone that is `packable` starts anew at each of them. What comes out is put back into padded rows, so
that what follows is the same.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnamamba.models.base import Backbone

# The fastest kernels take lengths that are multiples of it, and memory is used again for few of them.
ALIGNED = 64
# Of padded rows; to pack them costs copies of the tokens and of the last hidden states.
WORTH_FROM = 0.95
# Padded positions x width from which a GPU gains: with fewer, kernels end before the next ones are launched,
# and to launch those of packed rows takes longer (benchmarks/packing.py, H200).
PAYS_FROM = 1 << 24


def read_rows(
    backbone: Backbone, tokens: Tensor, lengths: Tensor | None, *, blocks: int | None = None
) -> Tensor:
    """Return hidden states [B, L, D] of rows padded on the right; at padding they are arbitrary, but finite.

    Rows with enough padding are packed where the family gains by it, but not under torch.compile, which would
    compile anew for every number of positions.

    Args:
        backbone: a causal one, where rows are padded.
        tokens: [B, L].
        lengths: int64 [B], real positions of each row, at least 1; None: all L.
        blocks: as in `Backbone.forward`.
    """
    options = {} if blocks is None else {"blocks": blocks}
    if (
        lengths is None
        or not backbone.packs_on(tokens.device)
        or backbone.ranks is not None
        or torch.compiler.is_compiling()
        or (tokens.is_cuda and tokens.numel() * backbone.config.width < PAYS_FROM)
    ):
        return backbone(tokens, **options).hidden
    (rows, width), number = tokens.shape, int(lengths.sum())
    size = -(-number // ALIGNED) * ALIGNED
    if size > WORTH_FROM * rows * width:
        return backbone(tokens, **options).hidden
    first = lengths.cumsum(0) - lengths
    row = torch.repeat_interleave(lengths, output_size=number)
    place = torch.arange(number, device=tokens.device) - first[row]
    packed = tokens.new_zeros(1, size)  # what comes after the last sequence is a longer end of it
    packed[0, :number] = tokens[row, place]
    starts = torch.zeros(1, size, dtype=torch.uint8, device=tokens.device)
    starts[0, :number] = place == 0
    hidden = backbone(packed, starts=starts, **options).hidden
    at = torch.minimum(torch.arange(width, device=tokens.device), lengths[:, None] - 1) + first[:, None]
    return _Unpacked.apply(hidden, at, row * width + place)


class _Unpacked(torch.autograd.Function):
    """Padded rows of packed ones: each position is read once, and its padding passes nothing back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, at: Tensor, positions: Tensor) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.size = hidden.shape
        return hidden[0].index_select(0, at.flatten()).view(*at.shape, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (positions,) = ctx.saved_tensors
        found = gradient.new_zeros(ctx.size)
        torch.index_select(gradient.flatten(0, 1), 0, positions, out=found[0, : len(positions)])
        return found, None, None
