"""Pre-norm residual blocks of attention with rotary positions and a SwiGLU network."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dnamamba.models.base import Backbone, BackboneOutput, State
from dnamamba.models.transformer.config import TransformerConfig


class Turns(NamedTuple):
    """Cosines and sines of the positions' angles, [L, d_head / 2] each."""

    cos: Tensor
    sin: Tensor


class Attention(nn.Module):
    """Every position reads those before it, or all, by torch's attention.

    Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021),
    arXiv 2104.09864, for the positions.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.d_head, self.causal = config.d_head, not config.bidirectional
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, turns: Turns) -> Tensor:
        """Mix [B, L, D] along L."""
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, -1, self.d_head).transpose(1, 3).unbind(2)
        made = F.scaled_dot_product_attention(
            turned(query, turns), turned(key, turns), value, is_causal=self.causal
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

    def forward(self, x: Tensor, turns: Turns) -> Tensor:
        x = x + self.attention(self.norm1(x), turns)
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
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
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
        """Read tokens, [B, L] of any integer dtype. See `Backbone.forward`."""
        assert state is None, "this family has no state"
        x = self.embedding(tokens.int())
        turns = turns_of(tokens.shape[1], self.config, x)
        recompute = self.activation_checkpointing and torch.is_grad_enabled()
        done = 0
        for layer in islice(self.layers, blocks):
            x = checkpoint(layer, x, turns, use_reentrant=False) if recompute else layer(x, turns)
            done += 1
        return BackboneOutput(self.norm_f(x) if done == len(self.layers) else x, None)

    def unembed(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D], by the tied embedding."""
        return F.linear(hidden, self.embedding.weight)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the `TransformerBlock`s, first to last."""
        return list(self.layers)


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
