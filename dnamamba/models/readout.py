"""What a head may learn between the hidden states and its logits, so that places in a sequence count.

Hidden states of what is not a known base, padding among it, are zeros to all of these: neither the side nor
the amount of padding changes an answer.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.errors import UserError, whole_number
from dnamamba.models.pooling import BASES, UNKNOWN, pool, within

QUERIES = 4
WAVES = 16  # of the place in the sequence, as a query sees it: the shortest is an eighth of the sequence
CHANNELS = 16  # of a position, where each has weights of its own
CONV_WIDTH, CONV_REACH = 64, 5
MOST_CONVOLUTIONS = 10


class Convolutions(nn.Module):
    """Residual convolutions over hidden states, each reaching twice as far as the one below it.

    Args:
        width: of the hidden states.
        layers: number of convolutions; the last one reads 2 ** layers positions to either side.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, CONV_WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(CONV_WIDTH) for _ in range(layers))
        self.layers = nn.ModuleList(
            nn.Conv1d(CONV_WIDTH, CONV_WIDTH, CONV_REACH, dilation=1 << i, padding=CONV_REACH // 2 << i)
            for i in range(layers)
        )

    def forward(self, hidden: Tensor, known: Tensor) -> Tensor:
        """Convolve hidden states [B, L, W], zeros where `known` [B, L] is False, to [B, L, CONV_WIDTH]."""
        return self.mix(self.projection(hidden), known)

    def mix(self, x: Tensor, known: Tensor) -> Tensor:
        """Return the same of what was projected already, [B, L, CONV_WIDTH]."""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            inner = norm(x) * known[..., None]
            x = x + F.gelu(layer(inner.transpose(1, 2)).transpose(1, 2))
        return x


def check_convolutions(number: int) -> None:
    """Check `decoder.conv`: the tenth convolution reads 1,024 positions to either side.

    Raises:
        UserError: it is not a whole number from 0 to 10.
    """
    if not 0 <= whole_number("decoder.conv", number) <= MOST_CONVOLUTIONS:
        raise UserError(
            f"decoder.conv: must lie between 0 and {MOST_CONVOLUTIONS} convolutions (got {number})"
        )


class Attention(nn.Module):
    """Learned queries: each takes the mean of the hidden states, weighted by what is there and by where.

    Args:
        width: of the hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.what = nn.Linear(width, QUERIES, bias=False)
        self.where = nn.Linear(WAVES, QUERIES, bias=False)

    def forward(self, hidden: Tensor, known: Tensor, lengths: Tensor | None) -> Tensor:
        """Weight hidden states [B, L, W] to means [B, QUERIES * W]; zeros for a row without a known base.

        Args:
            hidden: [B, L, W].
            known: bool [B, L], False at N and padding.
            lengths: int64 [B], real positions of each row; None: all L.
        """
        scores = self.what(hidden) + self.where(self._waves(hidden, lengths))
        weights = scores.masked_fill(~known[..., None], torch.finfo(scores.dtype).min).softmax(1)
        weights = weights * known[..., None]
        return torch.einsum("blq,bld->bqd", weights, hidden.to(weights.dtype)).flatten(1)

    def _waves(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """Return cosines of each position's distance between the ends of its row, [B or 1, L, WAVES]."""
        place = torch.arange(hidden.shape[1], device=hidden.device, dtype=self.where.weight.dtype)[None]
        last = hidden.shape[1] - 1 if lengths is None else (lengths - 1)[:, None]
        share = place / (max(1, last) if isinstance(last, int) else last.clamp(min=1))
        wave = torch.arange(WAVES, device=hidden.device, dtype=share.dtype)
        return torch.cos(math.pi * wave * share[..., None])


class Positions(nn.Module):
    """Some channels of every position side by side, so that the head has weights for each position.

    Args:
        width: of the hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, CHANNELS)

    def forward(self, hidden: Tensor, known: Tensor) -> Tensor:
        """Return the learned channels of all positions, [B, L * CHANNELS]."""
        return (self.projection(hidden) * known[..., None]).flatten(1)


class Readout(nn.Module):
    """Hidden states of a sequence as one vector, by weights that are learnt with the head.

    Args:
        mode: how positions become a vector: `attention`, `positions` or one of `pooling.MODES`.
        conv: number of convolutions before that.
        width: of the hidden states.
        length: of every sequence, where `mode` is `positions`.

    Attributes:
        size: of the vector.
    """

    def __init__(self, mode: str, conv: int, width: int, length: int | None) -> None:
        super().__init__()
        self.mode, self.length = mode, length
        self.convolutions = Convolutions(width, conv) if conv else None
        width = CONV_WIDTH if conv else width
        self.pooling: nn.Module | None = None
        if mode == "attention":
            self.pooling, self.size = Attention(width), QUERIES * width
        elif mode == "positions":
            assert length is not None
            self.pooling, self.size = Positions(width), length * CHANNELS
        else:
            self.size = pooled_size(mode, width)

    def forward(self, hidden: Tensor, bases: Tensor, lengths: Tensor | None) -> Tensor:
        """Read hidden states [B, L, W], padded on the right: [B, size].

        Args:
            hidden: padding included.
            bases: [B, L], the numbers of `pooling.base_table`.
            lengths: int64 [B], real positions; None: all.
        """
        if self.mode == "positions":
            hidden, bases = hidden[:, : self.length], bases[:, : self.length]
        known = within(bases, lengths) != UNKNOWN
        hidden = (hidden * known[..., None]).to(self._dtype())
        if self.convolutions is not None:
            hidden = self.convolutions(hidden, known)
        if self.mode == "attention":
            assert self.pooling is not None
            return self.pooling(hidden, known, lengths)
        if self.mode == "positions":
            assert self.pooling is not None
            return self.pooling(hidden, known)
        return pool(self.mode, hidden, bases, lengths)

    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


def pooled_size(mode: str, width: int) -> int:
    """Return the width of what `pooling.pool` makes from hidden states of this width."""
    return BASES * width if mode == "next" else width
