"""One position of the causal convolution, its history moved on in place: for generation, a base at a time."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.backend import resolve
from dnamamba.kernels.precision import state_dtype


def causal_conv1d_step(
    history: Tensor, x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "auto"
) -> Tensor:
    """Read one position: `causal_conv1d` with L = 1 and SiLU, without its gradients.

    Fixed shapes on fixed memory, so that a CUDA graph can hold it. Sums are in fp32 (fp64 for fp64).

    Args:
        history: [B, K - 1, E], the inputs before this one, in the dtype of `x`; moved on by one.
        x: [B, E].
        weight: [E, K].
        bias: [E].
        backend: see `dnamamba.kernels`.

    Returns:
        y [B, E], in the dtype of `x`.
    """
    if resolve(backend, x.device, x.dtype) == "triton":
        from .triton_step import causal_conv1d_step_triton

        return causal_conv1d_step_triton(history, x, weight, bias)
    taps = torch.cat([history, x[:, None]], dim=1)
    history.copy_(taps[:, 1:])
    dtype = state_dtype(x.dtype)
    y = (taps.to(dtype) * weight.t().to(dtype)).sum(1) + bias.to(dtype)
    return F.silu(y).to(x.dtype)
