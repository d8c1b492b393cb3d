"""The causal convolution as its definition writes it, under plain autograd."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.packing import places
from dnamamba.kernels.precision import state_dtype, without_autocast

from .api import Convolution


def causal_conv1d_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    starts: Tensor | None = None,
) -> Convolution:
    """See `causal_conv1d`."""
    batch, length, channels = x.shape
    width = weight.shape[1]
    dtype = state_dtype(x.dtype)
    with without_autocast(x.device):
        if initial_state is None:
            initial_state = x.new_zeros(batch, width - 1, channels)
        history = torch.cat([initial_state.to(x.dtype), x], dim=1)
        weight_EK = weight.to(dtype)
        y = x.new_zeros((), dtype=dtype) if bias is None else bias.to(dtype)
        place = None if starts is None else places(starts, width - 1)[..., None]
        for k in range(width):
            seen = history[:, k : k + length].to(dtype)
            if place is not None:
                seen = seen * (place >= width - 1 - k)
            y = y + weight_EK[:, k] * seen
        if activation == "silu":
            y = F.silu(y)
        return Convolution(y.to(x.dtype), history[:, length:].clone())
