"""The filter of a long convolution: a small network's answer to each position, fading along the sequence."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.kernels.precision import state_dtype
from dnamamba.models.hyena.config import HyenaConfig

FADED, SOON, LATE = 1e-2, 0.3, 1.5  # what is left of a filter after these shares of `max_length`


class FilterLayer(nn.Module):
    """A linear layer of the filter's network, whose weights have names of their own: they never decay."""

    def __init__(self, inputs: int, outputs: int, *, offset: bool) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.empty(outputs, inputs))
        self.offset = nn.Parameter(torch.empty(outputs)) if offset else None

    def forward(self, x: Tensor) -> Tensor:
        """Transform [..., inputs] in the dtype of x."""
        return F.linear(x, self.matrix.to(x.dtype), None if self.offset is None else self.offset.to(x.dtype))


class HyenaFilter(nn.Module):
    """A filter of D channels over the positions 0 to L - 1, for any L up to `max_length`.

    h[t] = network(z[t]) * (exp(-t |rate|) + shift), t in shares of `max_length`, with sines in the network.

    Attributes:
        positions: [1, max_length, channels], z: time, then cosines, then sines. Not trained here; some
            published models have trained it, so that it is saved with the weights.
        rates: [1, 1, D], how fast each channel fades.
        skip: [D], of the input itself.

    Source: Poli et al., "Hyena Hierarchy: Towards Larger Convolutional Language Models" (2023), arXiv
    2302.10866, section 3.3; Nguyen et al., "HyenaDNA" (2023), arXiv 2306.15794.
    """

    positions: Tensor
    rates: Tensor

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_filter
        sizes = [config.position_channels, *[width] * (config.filter_layers + 1)]
        layers = [FilterLayer(*pair, offset=True) for pair in pairwise(sizes)]
        self.layers = nn.ModuleList([*layers, FilterLayer(width, config.d_model, offset=False)])
        self.frequency = nn.Parameter(torch.full((1, width), float(config.frequency)))
        self.skip = nn.Parameter(torch.empty(config.d_model))
        self.register_buffer("positions", positions_of(config.max_length, config.position_channels))
        soon, late = math.log(FADED) / SOON, math.log(FADED) / LATE
        self.register_buffer("rates", torch.linspace(late, soon, config.d_model)[None, None])

    def forward(self, length: int) -> Tensor:
        """Return the filter, [L, D], in float32, or float64 for float64 weights."""
        dtype = state_dtype(self.skip.dtype)
        # A copy: a product with few columns rounds by how its rows are aligned, which a file decides.
        x = self.positions[0, :length].to(dtype, copy=True)
        for layer in list(self.layers)[:-1]:
            x = torch.sin(self.frequency.to(dtype) * layer(x))
        place = torch.arange(length, dtype=dtype, device=x.device) / max(1, self.config.max_length - 1)
        fading = torch.exp(-place[:, None] * self.rates[0].to(dtype).abs())
        return self.layers[-1](x) * (fading + self.config.shift)


def positions_of(length: int, channels: int) -> Tensor:
    """Return float32 [1, length, channels]: time from 0 to 1, then cosines and negated sines of bands."""
    place = torch.arange(length, dtype=torch.float64)
    bands = torch.linspace(1e-4, (channels - 1) // 2 - 1, (channels - 1) // 2, dtype=torch.float64)
    angle = bands * (2 * math.pi * place / length)[:, None]
    time = place[:, None] / max(1, length - 1)
    return torch.cat([time, angle.cos(), -angle.sin()], dim=-1)[None].float()


def long_convolution(x: Tensor, taps: Tensor, skip: Tensor) -> Tensor:
    """Convolve each channel with its own filter that looks only backward, through the frequencies.

        y[t] = skip * x[t] + sum over s in 0..t of taps[s] * x[t - s]

    Args:
        x: [B, L, D].
        taps: [L, D], float32 or float64: of the arithmetic and the result.
        skip: [D].
    """
    length = x.shape[1]
    wide = x.to(taps.dtype).transpose(1, 2)
    # Twice the length: the ends of a circular convolution do not meet.
    product = torch.fft.rfft(wide, n=2 * length) * torch.fft.rfft(taps.T, n=2 * length)
    y = torch.fft.irfft(product, n=2 * length)[..., :length]
    return (y + wide * skip.to(taps.dtype)[:, None]).transpose(1, 2)
