"""Pre-norm residual blocks of a Hyena mixer and a feed-forward network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.kernels import causal_conv1d
from dnamamba.kernels.precision import without_autocast
from dnamamba.models.base import Backbone, BackboneOutput, State, need_reach
from dnamamba.models.blocks import through_blocks
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.hyena.filter import HyenaFilter, long_convolution


class HyenaMixer(nn.Module):
    """Gate, long convolution, gate: out(a * (filter conv (b * v))), with a, b, v of a short convolution.

    The filter, the convolution and its gates are computed in float32 (float64 for float64), whatever
    autocast says.

    Source: Poli et al., "Hyena Hierarchy" (2023), arXiv 2302.10866, definition 3.1 for order 2.
    """

    def __init__(self, config: HyenaConfig, backend: str) -> None:
        super().__init__()
        self.backend, inner = backend, 3 * config.d_model
        self.in_proj = nn.Linear(config.d_model, inner)
        self.short_conv = nn.Conv1d(inner, inner, config.d_conv, groups=inner)
        self.filter = HyenaFilter(config)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Mix [B, L, D] along L."""
        weight = self.short_conv.weight.squeeze(1)
        given = self.in_proj(x)
        mixed = causal_conv1d(given, weight, self.short_conv.bias, backend=self.backend).y
        with without_autocast(x.device):
            taps = self.filter(x.shape[1])
            outer, inner, value = mixed.to(taps.dtype).chunk(3, dim=-1)
            y = outer * long_convolution(inner * value, taps, self.filter.skip)
        return self.out_proj(y.to(given.dtype))


class HyenaBlock(nn.Module):
    """x + mixer(norm(x)), then x + network(norm(x)), the residual stream in float32."""

    def __init__(self, config: HyenaConfig, backend: str) -> None:
        super().__init__()
        assert config.d_hidden is not None  # set by HyenaConfig
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.mixer = HyenaMixer(config, backend)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.fc1 = nn.Linear(config.d_model, config.d_hidden)
        self.fc2 = nn.Linear(config.d_hidden, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class HyenaBackbone(Backbone):
    """A stack of `HyenaBlock`s over byte tokens, up to `max_length` of them. It carries no state.

    Args:
        config: the model's shape.
        backend: of the short convolution, see `dnamamba.kernels`.
    """

    causal, recurrent = True, False
    adapters = ("in_proj", "out_proj", "fc1", "fc2")
    undecayed = ("matrix", "offset", "frequency", "skip")

    config: HyenaConfig
    embedding: nn.Embedding

    def __init__(self, config: HyenaConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config, self.max_length = config, config.max_length
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.layers = nn.ModuleList(HyenaBlock(config, backend) for _ in range(config.n_layer))
        self.norm_f = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.head = None if config.tied else nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw matrices by GPT-2's rule: smaller what ends in the residual stream. Skips are normal."""
        for name, parameter in self.named_parameters():
            last = name.rpartition(".")[2]
            if last in ("bias", "offset") and "short_conv" not in name and "norm" not in name:
                nn.init.zeros_(parameter)
            elif last == "skip":
                nn.init.normal_(parameter)
            elif parameter.dim() == 2 and last != "frequency":
                ends = name.endswith(("out_proj.weight", "fc2.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * self.config.n_layer) ** 0.5 if ends else 0.02)

    def forward(
        self, tokens: Tensor, state: State | None = None, *, blocks: int | None = None
    ) -> BackboneOutput:
        """Read tokens, [B, L] of any integer dtype, L at most `max_length`. See `Backbone.forward`.

        Raises:
            UserError: the sequences are longer than `max_length`.
        """
        assert state is None, "this family has no state"
        need_reach(self, tokens.shape[1])
        return through_blocks(self, self.embedding(tokens.int()), blocks)

    def unembed(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D], by the tied embedding or the own head."""
        return F.linear(hidden, self.embedding.weight if self.head is None else self.head.weight)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the `HyenaBlock`s, first to last."""
        return list(self.layers)
