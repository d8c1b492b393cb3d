"""The Mamba-1 block's mixer (Gu and Dao 2023, figure 3): what moves information along the sequence."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.kernels import causal_conv1d, selective_scan
from dnamamba.kernels.bidirectional_block import DirectionWeights
from dnamamba.kernels.mamba_block import BlockWeights
from dnamamba.kernels.precision import state_dtype
from dnamamba.kernels.ranks import Ranks
from dnamamba.models.mamba.config import MambaConfig
from dnamamba.models.mamba.state import MixerState


class MambaMixer(nn.Module):
    """in_proj -> causal convolution -> SiLU -> selective scan, gated by SiLU(z) -> out_proj.

    Parameters carry the names of the reference implementation, so that its weights map one to one.

    Args:
        config: the model's shape.
        backend: scan and convolution backend, see `dnamamba.kernels`.
    """

    def __init__(self, config: MambaConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.backend = backend
        d_inner, d_state, dt_rank = config.d_inner, config.d_state, config.dt_rank
        assert dt_rank is not None  # set by MambaConfig
        self.in_proj = nn.Linear(config.d_model, 2 * d_inner, bias=False)
        self.conv1d = nn.Conv1d(d_inner, d_inner, config.d_conv, groups=d_inner)
        self.x_proj = nn.Linear(d_inner, dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(dt_rank, d_inner)
        self.A_log = nn.Parameter(torch.empty(d_inner, d_state))
        self.D = nn.Parameter(torch.empty(d_inner))
        self.out_proj = nn.Linear(d_inner, config.d_model, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw every parameter anew by the paper's rules (section 3.6, appendix E; S4D-Real for A)."""
        config = self.config
        for module in (self.in_proj, self.conv1d, self.x_proj):
            module.reset_parameters()

        assert config.dt_rank is not None
        bound = config.dt_rank**-0.5
        nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        log_min, log_max = math.log(config.dt_min), math.log(config.dt_max)
        dt = torch.exp(torch.empty_like(self.dt_proj.bias).uniform_(log_min, log_max))
        dt.clamp_(min=config.dt_init_floor)
        # The inverse of softplus, so that softplus(bias) is dt.
        self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

        self.A_log.copy_((config.a_scale * torch.arange(1, config.d_state + 1)).log().expand_as(self.A_log))
        nn.init.ones_(self.D)
        # Every block adds to the residual stream: 1/sqrt(blocks) keeps its variance independent of depth.
        nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
        self.out_proj.weight.div_(math.sqrt(config.n_layer))

    @property
    def state_matrix(self) -> Tensor:
        """[E, N], the diagonal of the state matrix; float32, or float64 of float64 parameters."""
        return -torch.exp(self.A_log.to(state_dtype(self.A_log.dtype)))

    @property
    def wrapped(self) -> bool:
        """Whether a projection is more than a matrix, with an adapter for one: then it must be called."""
        projections = (self.in_proj, self.x_proj, self.dt_proj, self.out_proj)
        return any(type(projection) is not nn.Linear for projection in projections)

    def block_weights(self, norm: Tensor, backend: str = "") -> BlockWeights:
        """Return the parameters that the fused block of `backend` takes, with the norm before it, [D]."""
        return BlockWeights(
            norm=norm,
            in_proj=self.in_proj.weight,
            out_proj=self.out_proj.weight,
            **self.direction_weights(backend)._asdict(),
        )

    def direction_weights(self, backend: str = "") -> DirectionWeights:
        """Return the parameters between the two projections."""
        if backend == "numba":
            from dnamamba.kernels.numba_cpu.alone import exp_alone

            A = -exp_alone(self.A_log)
        else:
            A = self.state_matrix
        return DirectionWeights(
            conv_weight=self.conv1d.weight.squeeze(1),
            conv_bias=cast(Tensor, self.conv1d.bias),
            x_proj=self.x_proj.weight,
            dt_proj=self.dt_proj.weight,
            dt_bias=self.dt_proj.bias,
            A=A,
            D=self.D,
        )

    def forward(
        self,
        x: Tensor,
        state: MixerState | None = None,
        ranks: Ranks | None = None,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, MixerState]:
        """Mix [B, L, D] along L.

        Args:
            x: [B, L, D].
            state: what came before; None is the beginning of a sequence.
            ranks: processes that each hold an equal part of the sequence.
            starts: uint8 [B, L], 1 where a sequence begins; None: each row is one.

        Returns:
            The mixed sequence [B, L, D] and the state after its last position.
        """
        u, z = self.in_proj(x).chunk(2, dim=-1)
        y, state = self.along(u, z, state, ranks, starts)
        return self.out_proj(y), state

    def after(self, x: Tensor, state: MixerState | None = None, ranks: Ranks | None = None) -> MixerState:
        """Return the state after [B, L, D] alone: neither gate nor output projection.

        Args:
            x, state, ranks: as in `forward`.
        """
        if type(self.in_proj) is nn.Linear:
            u = F.linear(x, self.in_proj.weight[: self.config.d_inner])
        else:
            u = self.in_proj(x).chunk(2, dim=-1)[0]
        return self.along(u, None, state, ranks)[1]

    def along(
        self,
        u: Tensor,
        z: Tensor | None,
        state: MixerState | None = None,
        ranks: Ranks | None = None,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, MixerState]:
        """Apply what is between the two projections: convolution, SiLU, scan and gate.

        Args:
            u, z: [B, L, E], the two halves of what in_proj makes; without z nothing is gated.
            state: what came before; None is the beginning of a sequence.
            ranks: processes that each hold an equal part of the sequence.
            starts: uint8 [B, L], 1 where a sequence begins; None: each row is one.

        Returns:
            [B, L, E], and the state after the last position.
        """
        config = self.config
        assert config.dt_rank is not None
        conv = causal_conv1d(
            u,
            self.conv1d.weight.squeeze(1),
            self.conv1d.bias,
            activation="silu",
            initial_state=None if state is None else state.conv,
            starts=starts,
            ranks=ranks,
            backend=self.backend,
        )
        dt, B, C = self.x_proj(conv.y).split([config.dt_rank, config.d_state, config.d_state], dim=-1)
        dt_bias: Tensor | None = None
        if type(self.dt_proj) is nn.Linear:
            # The bias joins inside the scan, in float32: in bfloat16 it would drown the small steps.
            dt, dt_bias = F.linear(dt, self.dt_proj.weight), self.dt_proj.bias
        else:
            dt = self.dt_proj(dt)
        scan = selective_scan(
            conv.y,
            dt,
            self.state_matrix,
            B,
            C,
            D=self.D,
            z=z,
            dt_bias=dt_bias,
            dt_softplus=True,
            initial_state=None if state is None else state.ssm,
            starts=starts,
            ranks=ranks,
            backend=self.backend,
        )
        return scan.y, MixerState(conv.state, scan.state)
