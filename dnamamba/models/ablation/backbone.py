"""Pre-norm residual blocks around one of the layers of `layers.py`."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.kernels import causal_conv1d
from dnamamba.models.ablation.config import AblationConfig
from dnamamba.models.ablation.layers import LAYER
from dnamamba.models.base import Backbone, BackboneOutput, State, need_reach
from dnamamba.models.blocks import through_blocks

NORM_EPS = 1e-5


class GatedMixer(nn.Module):
    """Mamba's: layer(SiLU(convolution(u))) * SiLU(z), or without the gate.

    Source: Gu and Dao (2023), arXiv 2312.00752, figure 3.
    """

    def __init__(self, config: AblationConfig, backend: str) -> None:
        super().__init__()
        self.backend, self.gated = backend, config.block == "mamba"
        inner = config.inner
        self.in_proj = nn.Linear(config.d_model, 2 * inner if self.gated else inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, config.d_conv, groups=inner)
        self.ssm = LAYER[config.ssm](config, backend)
        self.out_proj = nn.Linear(inner, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix [B, L, D] along L."""
        u, *gate = self.in_proj(x).split(self.conv1d.in_channels, dim=-1)
        weight, bias = self.conv1d.weight.squeeze(1), self.conv1d.bias
        y = self.ssm(causal_conv1d(u, weight, bias, activation="silu", backend=self.backend).y)
        return self.out_proj(y * F.silu(gate[0]) if self.gated else y)


class H3Mixer(nn.Module):
    """H3's: q * layer(convolution(k) * v), a linear attention whose sum is the layer.

    Its shift is a learned convolution, as in Gu and Dao (2023), section 2. With ssm=hyena the block is a
    Hyena operator of order 2.

    Source: Dao et al., "Hungry Hungry Hippos" (2023), arXiv 2212.14052.
    """

    def __init__(self, config: AblationConfig, backend: str) -> None:
        super().__init__()
        self.backend, inner = backend, config.inner
        self.in_proj = nn.Linear(config.d_model, 3 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, config.d_conv, groups=inner)
        self.ssm = LAYER[config.ssm](config, backend)
        self.out_proj = nn.Linear(inner, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix [B, L, D] along L."""
        query, key, value = self.in_proj(x).chunk(3, dim=-1)
        key = causal_conv1d(key, self.conv1d.weight.squeeze(1), self.conv1d.bias, backend=self.backend).y
        return self.out_proj(query * self.ssm(key * value))


class AblationBlock(nn.Module):
    """x + mixer(norm(x)), the residual stream in float32."""

    def __init__(self, config: AblationConfig, backend: str) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, eps=NORM_EPS)
        self.mixer = (H3Mixer if config.block == "h3" else GatedMixer)(config, backend)
        # Every block adds to the residual stream: 1/sqrt(blocks) keeps its variance independent of depth.
        with torch.no_grad():
            nn.init.kaiming_uniform_(self.mixer.out_proj.weight, a=math.sqrt(5))
            self.mixer.out_proj.weight.div_(math.sqrt(config.n_layer))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixer(self.norm(x))


class AblationBackbone(Backbone):
    """A stack of `AblationBlock`s over byte tokens. It carries no state.

    Args:
        config: the model's shape.
        backend: of scan and short convolution, see `dnamamba.kernels`.
    """

    causal, recurrent = True, False
    adapters = ("in_proj", "out_proj")
    undecayed = (
        *("A_log", "A_imag", "B", "C", "D", "dt_bias", "log_dt"),
        *("matrix", "offset", "frequency", "skip"),
    )

    config: AblationConfig
    embedding: nn.Embedding

    def __init__(self, config: AblationConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config, self.max_length = config, config.max_length
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(AblationBlock(config, backend) for _ in range(config.n_layer))
        self.norm_f = nn.RMSNorm(config.d_model, eps=NORM_EPS)

    def forward(
        self, tokens: Tensor, state: State | None = None, *, blocks: int | None = None
    ) -> BackboneOutput:
        """Read tokens, [B, L] of any integer dtype. See `Backbone.forward`.

        Raises:
            UserError: the sequences are longer than `max_length`.
        """
        assert state is None, "this family has no state"
        need_reach(self, tokens.shape[1])
        return through_blocks(self, self.embedding(tokens.int()), blocks)

    def unembed(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D], by the tied embedding."""
        return F.linear(hidden, self.embedding.weight)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the `AblationBlock`s, first to last."""
        return list(self.layers)
