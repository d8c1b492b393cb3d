"""How attention is told where a position is: by turning queries and keys, or by lowering scores."""

from typing import NamedTuple

import torch
from torch import Tensor

from dnamamba.models.transformer.config import TransformerConfig


class Turns(NamedTuple):
    """Cosines and sines of the positions' angles, [L, d_head / 2] each.

    Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021),
    arXiv 2104.09864.
    """

    cos: Tensor
    sin: Tensor


def turns_of(length: int, config: TransformerConfig, like: Tensor) -> Turns:
    """Return the positions' angles [L, d_head / 2]: position times base^(-2i / d_head), in float64.

    Args:
        length: positions L.
        config: of the model.
        like: gives dtype and device.
    """
    place = torch.arange(length, dtype=torch.float64, device=like.device)
    index = torch.arange(0, config.d_head, 2, dtype=torch.float64, device=like.device)
    angle = place[:, None] * config.rotary_base ** (-index / config.d_head)
    return Turns(angle.cos().to(like.dtype), angle.sin().to(like.dtype))


def turned(x: Tensor, turns: Turns) -> Tensor:
    """Return [B, heads, L, d_head] with each pair of channels i and i + d_head / 2 turned by its angle."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = turns
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1).to(x.dtype)


def alibi_bias(length: int, config: TransformerConfig, like: Tensor) -> Tensor:
    """Return what is added to the scores, [heads, L, L]: minus slope times distance.

    The slopes of H heads are 2^(-8 / H), 2^(-16 / H), ... 2^-8. A position that must not be read has minus
    infinity.

    Args:
        length: positions L.
        config: of the model.
        like: gives dtype and device. Memory grows with L squared.

    Source: Press et al., "Train Short, Test Long" (2022), arXiv 2108.12409; its rule for a number of heads
    that is a power of two is used for all.
    """
    heads = config.d_model // config.d_head
    place = torch.arange(length, dtype=torch.float32, device=like.device)  # bfloat16 counts to 256
    distance = place[:, None] - place
    slopes = 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1, dtype=torch.float32, device=like.device))
    bias = -slopes[:, None, None] * distance.abs()
    if not config.bidirectional:
        bias = bias.masked_fill(distance < 0, -torch.inf)
    return bias.to(like.dtype)
