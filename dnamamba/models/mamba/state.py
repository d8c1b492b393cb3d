"""The recurrent state of a model: what it remembers of all bases seen so far, in constant memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from dnamamba.kernels.precision import state_dtype
from dnamamba.models.mamba.config import MambaConfig


class MixerState(NamedTuple):
    """State of one block after some prefix.

    Attributes:
        conv: the last K - 1 inputs of the convolution, [B, K - 1, E].
        ssm: the state of the selective scan, [B, E, N], float32 (float64 for a float64 model).
    """

    conv: Tensor
    ssm: Tensor


State = tuple[MixerState, ...]
"""One `MixerState` per block, first block first."""


def initial_state(
    config: MambaConfig,
    batch_size: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> State:
    """Return the state before the first base: zeros.

    Args:
        config: the model's shape.
        batch_size: B.
        device: where the model lies.
        dtype: dtype of the activations; the scan's state is float32, or float64 with these.
    """

    def zeros() -> MixerState:
        conv = torch.zeros(batch_size, config.d_conv - 1, config.d_inner, device=device, dtype=dtype)
        ssm = torch.zeros(batch_size, config.d_inner, config.d_state, device=device, dtype=state_dtype(dtype))
        return MixerState(conv, ssm)

    return tuple(zeros() for _ in range(config.n_layer))
