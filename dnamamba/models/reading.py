"""Sequences read in pieces, the recurrent state carried: everything that is read in pieces is read here."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from dnamamba.errors import UserError
from dnamamba.kernels.ranks import Ranks
from dnamamba.models.base import Backbone, State


class Read(NamedTuple):
    """A piece that was read.

    Attributes:
        tokens: [B, l], of the piece.
        hidden: [B, l, D], its hidden states, or what was made of them.
        state: the recurrent state after it; None of a family without one.
    """

    tokens: Tensor
    hidden: Tensor
    state: State


@torch.no_grad()
def read_pieces(
    backbone: Backbone,
    pieces: Iterable[Tensor],
    state: State | None = None,
    *,
    blocks: int | None = None,
    precision: AbstractContextManager[object] | None = None,
    ranks: Ranks | None = None,
    made: Callable[[Tensor], Tensor] = lambda hidden: hidden,
) -> Iterator[Read]:
    """Read sequences that come in pieces: equal to one call on the whole, up to rounding, without gradients.

    Args:
        backbone: reads where its parameters are.
        pieces: tokens [B, l] on the backbone's device, from the beginning of the sequences.
        state: what was read before.
        blocks: stop after so many blocks.
        precision: the context of each forward pass; by default the caller's.
        ranks: processes that read each piece together; all of them have all of it in the end.
        made: of hidden states [B, l, D] what is wanted, position by position.

    Raises:
        UserError: the family is not recurrent and there is a second piece, or a piece is over `max_length`.
    """
    context = precision or nullcontext()
    done = 0
    for tokens in pieces:
        if done and not backbone.recurrent:
            raise UserError(
                f"the family {backbone.config.family} reads a sequence in one piece (got more than {done:,} "
                "bases); give shorter sequences"
            )
        if backbone.max_length is not None and tokens.shape[1] > backbone.max_length:
            raise UserError(
                f"the family {backbone.config.family} reads at most {backbone.max_length:,} bases "
                f"(got {tokens.shape[1]:,}); give shorter sequences"
            )
        with context:
            if ranks is None:
                hidden, state = backbone(tokens, state, blocks=blocks)
                hidden = made(hidden)
            else:
                hidden, state = _read_together(backbone, tokens, state, blocks, ranks, made)
        done += tokens.shape[1]
        yield Read(tokens, hidden, state)


def _read_together(
    backbone: Backbone,
    tokens: Tensor,
    state: State | None,
    blocks: int | None,
    ranks: Ranks,
    made: Callable[[Tensor], Tensor],
) -> tuple[Tensor, State]:
    """Read a piece in equal parts, one per rank; the rest is read by all ranks alike."""
    even = tokens.shape[1] - tokens.shape[1] % ranks.size
    found = []
    if even:
        backbone.ranks = ranks
        try:
            hidden, state = backbone(ranks.part(tokens[:, :even]), state, blocks=blocks)
        finally:
            backbone.ranks = None
        found.append(ranks.gather(made(hidden)).transpose(0, 1).flatten(1, 2))
    if even < tokens.shape[1]:
        hidden, state = backbone(tokens[:, even:], state, blocks=blocks)
        found.append(made(hidden))
    return torch.cat(found, dim=1), state


def spans(
    length: int, size: int, align: int | None = None, reverse: bool = False
) -> Iterator[tuple[int, int]]:
    """Cut `length` bases into pieces of at most `size`, in the order of reading.

    The same lengths come forward and in reverse where `align` divides `length`: reading the reverse
    complement in reverse is then the same arithmetic, bit for bit.

    Args:
        length: bases in all.
        size: bases of a piece.
        align: pieces end at multiples of this many bases, or lie between two of them.
        reverse: begin at the end.
    """
    step = size if align is None else size // align * align
    if align is not None and step == 0:
        bins = [(start, min(start + align, length)) for start in range(0, length, align)]
        for start, end in reversed(bins) if reverse else bins:
            for first, last in spans(end - start, size, None, reverse):
                yield start + first, start + last
        return
    place = 0
    short = -length % align if align and reverse else 0
    while place < length:
        end = min(place + step - (short if place == 0 else 0), length)
        yield (length - end, length - place) if reverse else (place, end)
        place = end
