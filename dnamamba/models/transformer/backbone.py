"""Pre-norm residual blocks of attention and a SwiGLU network."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.models.base import Backbone, BackboneOutput, State, need_reach
from dnamamba.models.blocks import through_blocks
from dnamamba.models.transformer.config import TransformerConfig
from dnamamba.models.transformer.positions import Turns, alibi_bias, turned, turns_of


class Places(NamedTuple):
    """What tells every attention where a position is.

    Attributes:
        turns: of `rotary` positions.
        bias: of `alibi`, [heads, L, L], added to the scores; minus infinity at what must not be read.
    """

    turns: Turns | None
    bias: Tensor | None


class Attention(nn.Module):
    """Every position reads those before it, or all, by torch's attention."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.d_head, self.causal = config.d_head, not config.bidirectional
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, places: Places) -> Tensor:
        """Mix [B, L, D] along L."""
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, -1, self.d_head).transpose(1, 3).unbind(2)
        turns, bias = places
        if turns is not None:
            query, key = turned(query, turns), turned(key, turns)
        made = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if bias is None else bias.to(query.dtype),
            is_causal=self.causal and bias is None,
        )
        return self.out(made.transpose(1, 2).reshape(batch, length, width))


class SwiGLU(nn.Module):
    """out(silu(gate(x)) * up(x)): Shazeer, "GLU Variants Improve Transformer" (2020), arXiv 2002.05202."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        assert config.d_hidden is not None  # set by TransformerConfig
        self.gate_up = nn.Linear(config.d_model, 2 * config.d_hidden, bias=False)
        self.down = nn.Linear(config.d_hidden, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform [B, L, D], each position by itself."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + network(norm(x)), the residual stream in float32."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.attention = Attention(config)
        self.norm2 = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.network = SwiGLU(config)

    def forward(self, x: Tensor, places: Places) -> Tensor:
        x = x + self.attention(self.norm1(x), places)
        return x + self.network(self.norm2(x))


class TransformerBackbone(Backbone):
    """A stack of `TransformerBlock`s over byte tokens. It carries no state.

    Args:
        config: the model's shape.
    """

    recurrent = False
    adapters = ("qkv", "out", "gate_up", "down")

    config: TransformerConfig
    embedding: nn.Embedding

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.causal, self.masked = not config.bidirectional, config.bidirectional
        self.max_length = config.max_length
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.places = None if self.max_length is None else nn.Embedding(self.max_length, config.d_model)
        self.layers = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_layer))
        self.norm_f = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw every matrix anew by GPT-2's rule: smaller what ends in the residual stream."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                ends = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * self.config.n_layer) ** 0.5 if ends else 0.02)

    def forward(
        self, tokens: Tensor, state: State | None = None, *, blocks: int | None = None
    ) -> BackboneOutput:
        """Read tokens, [B, L] of any integer dtype. See `Backbone.forward`.

        Raises:
            UserError: the sequences are longer than `max_length`.
        """
        assert state is None, "this family has no state"
        need_reach(self, tokens.shape[1])
        x = self.embedding(tokens.int())
        if self.places is not None:
            x = x + self.places.weight[: tokens.shape[1]]
        places = self._places(tokens.shape[1], x)
        return through_blocks(self, x, blocks, places)

    def _places(self, length: int, like: Tensor) -> Places:
        config = self.config
        if config.positions == "rotary":
            return Places(turns_of(length, config, like), None)
        if config.positions == "alibi":
            return Places(None, alibi_bias(length, config, like))
        return Places(None, None)

    def depth_of(self, name: str) -> int:
        """See `Backbone.depth_of`; the vectors of positions are as deep as the embedding."""
        return 0 if name.startswith("places.") else super().depth_of(name)

    def unembed(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D], by the tied embedding."""
        return F.linear(hidden, self.embedding.weight)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the `TransformerBlock`s, first to last."""
        return list(self.layers)
