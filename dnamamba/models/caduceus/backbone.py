"""Blocks that read both ways with shared projections, and two strands through one set of weights."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dnamamba.data.alphabet import get_alphabet
from dnamamba.kernels import resolve
from dnamamba.kernels.bidirectional_block import BidirectionalWeights, bidirectional_block
from dnamamba.kernels.precision import dtype_of_products
from dnamamba.models.base import Backbone, BackboneOutput, State
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.models.mamba.mixer import MambaMixer


class BiMixer(nn.Module):
    """Two Mamba mixers, one for each direction, between an in_proj and an out_proj that they share.

    Source: Schiff et al., "Caduceus: Bi-Directional Equivariant Long-Range DNA Sequence Modeling" (2024),
    arXiv 2403.03234, section 3.1.
    """

    def __init__(self, config: CaduceusConfig, backend: str) -> None:
        super().__init__()
        self.multiply = config.strategy == "ew_multiply"
        self.forward_scan, self.reverse_scan = MambaMixer(config, backend), MambaMixer(config, backend)
        self.in_proj, self.out_proj = self.forward_scan.in_proj, self.forward_scan.out_proj
        for mixer in self._directions():
            del mixer.in_proj, mixer.out_proj

    def forward(self, x: Tensor) -> Tensor:
        """Mix [B, L, D] along L, both ways."""
        u, z = self.in_proj(x).chunk(2, dim=-1)
        ahead, _ = self.forward_scan.along(u, z)
        back, _ = self.reverse_scan.along(u.flip(1), z.flip(1))
        if self.multiply:
            return self.out_proj(ahead) * self.out_proj(back.flip(1))
        # A product with one matrix: of the sum, it is half the work.
        return self.out_proj(ahead + back.flip(1))

    @property
    def wrapped(self) -> bool:
        """Whether a projection is more than a matrix, with an adapter for one: then it must be called."""
        own = (part for mixer in self._directions() for part in (mixer.x_proj, mixer.dt_proj))
        return any(type(part) is not nn.Linear for part in (self.in_proj, self.out_proj, *own))

    def block_weights(self, norm: Tensor) -> BidirectionalWeights:
        """Return the parameters that the fused block takes, with the norm before the mixer, [D]."""
        ahead, back = (mixer.direction_weights() for mixer in self._directions())
        return BidirectionalWeights(norm, self.in_proj.weight, self.out_proj.weight, ahead, back)

    def _directions(self) -> tuple[MambaMixer, MambaMixer]:
        return self.forward_scan, self.reverse_scan


class CaduceusBlock(nn.Module):
    """x + mixer(norm(x)), the residual stream in float32."""

    def __init__(self, config: CaduceusConfig, backend: str) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.mixer = BiMixer(config, backend)

    def forward(self, x: Tensor) -> Tensor:
        if self._is_fused(x):
            # One operator: it flips nothing and keeps less for the backward.
            return bidirectional_block(
                x,
                self.mixer.block_weights(self.norm.weight),
                eps=self.norm.eps or torch.finfo(x.dtype).eps,
                dtype=dtype_of_products(x),
            )
        return x + self.mixer(self.norm(x))

    def _is_fused(self, x: Tensor) -> bool:
        mixer = self.mixer
        fits = not mixer.multiply and not mixer.wrapped
        return fits and resolve(mixer.forward_scan.backend, x.device, x.dtype) == "triton"


class CaduceusBackbone(Backbone):
    """A stack of `CaduceusBlock`s.

    Of PS the rows of a batch are twice as many inside: the sequences, then their reverse complements, each
    read in its own direction by the same blocks. Outside they lie side by side, the second one reversed along
    positions and channels: hidden states [B, L, 2 D].

    Args:
        config: the model's shape.
        backend: scan and convolution backend, see `dnamamba.kernels`.
    """

    causal = recurrent = False
    masked = True
    adapters = ("in_proj", "x_proj", "dt_proj", "out_proj")
    undecayed = ("A_log", "D")

    config: CaduceusConfig
    embedding: nn.Embedding
    complement: Tensor

    def __init__(self, config: CaduceusConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.equivariant = config.equivariant
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(CaduceusBlock(config, backend) for _ in range(config.n_layer))
        self.norm_f = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.register_buffer("complement", complement_table(config), persistent=False)

    def forward(
        self, tokens: Tensor, state: State | None = None, *, blocks: int | None = None
    ) -> BackboneOutput:
        """Read tokens, [B, L] of any integer dtype; with `blocks`, stop after that many of them.

        Hidden states are [B, L, D], of PS [B, L, 2 D]; the final norm comes only after the last block. See
        `Backbone.forward`.
        """
        assert state is None, "a model that reads both ways has no state"
        tokens = tokens.int()
        if self.equivariant:
            tokens = torch.cat([tokens, self.complement[tokens].flip(1)])
        x = self.embedding(tokens)
        recompute = self.activation_checkpointing and torch.is_grad_enabled()
        done = 0
        for layer in islice(self.layers, blocks):
            if self.config.exchange:
                x = _exchanged(x)
            x = checkpoint(layer, x, use_reentrant=False) if recompute else layer(x)
            done += 1
        if done == len(self.layers):
            x = self.norm_f(x)
        return BackboneOutput(_side_by_side(x) if self.equivariant else x, None)

    def unembed(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D], by the tied embedding.

        Of PS, the sum of what the two strands say: that of the second is of complementary bases.
        """
        if not self.equivariant:
            return F.linear(hidden, self.embedding.weight)
        ahead, other = hidden.chunk(2, dim=-1)
        complementary = self.embedding.weight[self.complement]
        return F.linear(ahead, self.embedding.weight) + F.linear(other.flip(-1), complementary)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the `CaduceusBlock`s, first to last."""
        return list(self.layers)


def complement_table(config: CaduceusConfig) -> Tensor:
    """Return int32 [V]: the id on the other strand for each id; an id without a complement maps to itself."""
    # By NumPy: a model that is built on the device meta, to be given its weights, needs it all the same.
    table = get_alphabet(config.alphabet).complement[: config.padded_vocab_size].astype(np.int32)
    own = np.arange(len(table), dtype=np.int32)
    return torch.from_numpy(np.where(table[table] == own, table, own))


def _side_by_side(x: Tensor) -> Tensor:
    """Return sequences and their reverse complements [2 B, L, D] as [B, L, 2 D]."""
    ahead, other = x.chunk(2)
    return torch.cat([ahead, other.flip(1, 2)], dim=-1)


def _exchanged(x: Tensor) -> Tensor:
    """Return [2 B, L, D] with each strand in the other's place, direction and order of channels."""
    return x.unflatten(0, (2, -1)).flip(0, 2, 3).flatten(0, 1)
