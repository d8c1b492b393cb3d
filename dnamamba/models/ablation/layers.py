"""What moves information along the sequence in a block: S6, S4 with a real or complex state, Hyena.

A layer turns u [B, L, E] into y [B, L, E]. The sum along the sequence is made in float32, or
float64 for float64, whatever autocast says.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dnamamba.errors import missing
from dnamamba.kernels import selective_scan
from dnamamba.kernels.precision import state_dtype, without_autocast
from dnamamba.models.ablation.config import AblationConfig
from dnamamba.models.hyena.filter import HyenaFilter, long_convolution

DT_MIN, DT_MAX = 1e-3, 1e-1  # between which dt is log-uniform at initialisation
AT_A_TIME = 8192  # positions whose decays are held at once


def drawn_log_dt(config: AblationConfig) -> Tensor:
    """Return logarithms of step sizes, [E]."""
    return torch.empty(config.inner).uniform_(math.log(DT_MIN), math.log(DT_MAX))


def drawn_A_log(config: AblationConfig) -> Tensor:  # noqa: N802
    """Return log(-A), [E, N], by `a_init`."""
    shape = config.inner, config.states
    if config.a_init == "ramp":
        return torch.arange(1, config.states + 1).log().expand(shape).clone()
    return torch.full(shape, math.log(0.5)) if config.a_init == "half" else torch.randn(shape)


class SelectiveLayer(nn.Module):
    """S6: the selective scan, in which each of dt, B and C is a function of the input or a parameter.

    Without selection dt is a number per channel, `dt_bias`, to which selection adds; B and C are a number
    per state, shared by the channels as what the input makes is.

    Source: Gu and Dao (2023), arXiv 2312.00752, algorithms 1 and 2, table 7.
    """

    def __init__(self, config: AblationConfig, backend: str) -> None:
        super().__init__()
        assert config.dt_rank is not None
        assert config.selective is not None
        self.backend, inner, states = backend, config.inner, config.states
        sizes = {"dt": config.dt_rank, "B": states, "C": states}
        self.sizes = {name: size for name, size in sizes.items() if name in config.selective}
        self.x_proj = nn.Linear(inner, sum(self.sizes.values()), bias=False) if self.sizes else None
        self.dt_proj = nn.Linear(config.dt_rank, inner, bias=False) if "dt" in self.sizes else None
        dt = drawn_log_dt(config).exp()
        # The inverse of softplus, so that softplus(dt_bias) is dt.
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(drawn_A_log(config))
        self.D = nn.Parameter(torch.ones(inner))
        self.B = None if "B" in self.sizes else nn.Parameter(torch.ones(states))
        self.C = None if "C" in self.sizes else nn.Parameter(torch.randn(states) / states**0.5)
        if self.dt_proj is not None:
            nn.init.uniform_(self.dt_proj.weight, -(config.dt_rank**-0.5), config.dt_rank**-0.5)

    def forward(self, u: Tensor) -> Tensor:
        """Mix [B, L, E] along L."""
        made: dict[str, Tensor] = {}
        if self.x_proj is not None:
            parts = self.x_proj(u).split(list(self.sizes.values()), dim=-1)
            made = dict(zip(self.sizes, parts, strict=True))
        dt = torch.zeros_like(u) if self.dt_proj is None else self.dt_proj(made["dt"])
        fixed = {name: getattr(self, name) for name in ("B", "C") if name not in made}
        made |= {
            name: value.to(u.dtype).expand(*u.shape[:2], -1).contiguous() for name, value in fixed.items()
        }
        A = -torch.exp(self.A_log.to(state_dtype(self.A_log.dtype)))
        return selective_scan(
            u,
            dt,
            A,
            made["B"],
            made["C"],
            D=self.D,
            dt_bias=self.dt_bias,
            dt_softplus=True,
            backend=self.backend,
        ).y


class ConvolutionLayer(nn.Module):
    """A layer that is one long convolution, with D of the input itself; a subclass makes the filter."""

    def __init__(self, config: AblationConfig) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.ones(config.inner))

    def taps(self, length: int) -> Tensor:
        """Return the filter, [L, E], in float32 or float64."""
        raise missing(self, "taps")

    def forward(self, u: Tensor) -> Tensor:
        """Mix [B, L, E] along L."""
        with without_autocast(u.device):
            return long_convolution(u, self.taps(u.shape[1]), self.D).to(u.dtype)


class RealS4(ConvolutionLayer):
    """S4 with a real diagonal, without selection: a state h[t] = exp(dt A) h[t-1] + B u[t], y[t] = C h[t].

    B is that of a zero-order hold, (exp(dt A) - 1) / A.

    Source: Gu et al., "On the Parameterization and Initialization of Diagonal State Space Models" (2022),
    arXiv 2206.11893, S4D-Real.
    """

    def __init__(self, config: AblationConfig, backend: str) -> None:
        super().__init__(config)
        self.log_dt = nn.Parameter(drawn_log_dt(config))
        self.A_log = nn.Parameter(drawn_A_log(config))
        self.C = nn.Parameter(torch.randn(config.inner, config.states) / config.states**0.5)

    def taps(self, length: int) -> Tensor:
        """See `ConvolutionLayer.taps`."""
        dtype = state_dtype(self.C.dtype)
        A, dt = -self.A_log.to(dtype).exp(), self.log_dt.to(dtype).exp()[:, None]
        weights = self.C.to(dtype) * torch.expm1(dt * A) / A
        return sum_of_decays(weights, dt * A, length)


class ComplexS4(ConvolutionLayer):
    """S4 with a complex diagonal, without selection; the states are pairs of conjugates.

    Source: as `RealS4`, S4D-Lin.
    """

    def __init__(self, config: AblationConfig, backend: str) -> None:
        super().__init__(config)
        shape = config.inner, config.states // 2
        self.log_dt = nn.Parameter(drawn_log_dt(config))
        self.A_log = nn.Parameter(torch.full(shape, math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(shape[1]).expand(shape).clone())
        # Real and imaginary parts: a mean square of 1 in all.
        self.C = nn.Parameter(torch.randn(*shape, 2) / (2 * shape[1]) ** 0.5)

    def taps(self, length: int) -> Tensor:
        """See `ConvolutionLayer.taps`."""
        dtype = state_dtype(self.C.dtype)
        A = torch.complex(-self.A_log.to(dtype).exp(), self.A_imag.to(dtype))
        dtA = self.log_dt.to(dtype).exp()[:, None] * A
        weights = torch.view_as_complex(self.C.to(dtype).contiguous()) * expm1(dtA) / A
        return 2 * sum_of_decays(weights, dtA, length).real


class HyenaLayer(nn.Module):
    """Hyena's long convolution, whose filter a network makes of the position.

    Source: see `dnamamba.models.hyena.filter`.
    """

    def __init__(self, config: AblationConfig, backend: str) -> None:
        super().__init__()
        self.filter = HyenaFilter(config.filter_config())
        nn.init.normal_(self.filter.skip)
        for name, parameter in self.filter.named_parameters():
            if name.endswith("matrix"):
                nn.init.normal_(parameter, std=0.02)  # as the family hyena
            elif name.endswith("offset"):
                nn.init.zeros_(parameter)

    def forward(self, u: Tensor) -> Tensor:
        """Mix [B, L, E] along L."""
        with without_autocast(u.device):
            return long_convolution(u, self.filter(u.shape[1]), self.filter.skip).to(u.dtype)


def sum_of_decays(weights: Tensor, rates: Tensor, length: int) -> Tensor:
    """Return the sum over n of weights[e, n] exp(rates[e, n] t) at t = 0 to length - 1, [L, E].

    Args:
        weights, rates: [E, N], real or complex.
        length: positions L.
    """
    place = torch.arange(length, dtype=rates.dtype.to_real(), device=rates.device)
    return torch.cat(
        [
            torch.einsum("len,en->le", torch.exp(part[:, None, None] * rates), weights)
            for part in place.split(AT_A_TIME)
        ]
    )


def expm1(x: Tensor) -> Tensor:
    """Return exp(x) - 1 of complex numbers [...], to full precision near 0."""
    real = torch.expm1(x.real) * x.imag.cos() - 2 * (x.imag / 2).sin().square()
    return torch.complex(real, x.real.exp() * x.imag.sin())


LAYER: dict[str, Callable[[AblationConfig, str], nn.Module]] = {
    "s6": SelectiveLayer,
    "s4_real": RealS4,
    "s4_complex": ComplexS4,
    "hyena": HyenaLayer,
}
