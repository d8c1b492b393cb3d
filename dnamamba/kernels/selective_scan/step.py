"""One position of the selective scan, its state updated in place: what generation runs for each base."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.backend import resolve
from dnamamba.kernels.precision import softplus, without_autocast


def selective_scan_step(
    state: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """Read one position: `selective_scan` with L = 1 and `dt_softplus=True`, without its gradients.

    Fixed shapes on fixed memory, so that a CUDA graph can hold it. The arithmetic is that of the state, fp32
    or fp64, whatever autocast says.

    Args:
        state: [B, E, N], fp32 or fp64; changed to the state after this position.
        u, dt, z: [B, E].
        A: [E, N].
        B, C: [B, N].
        D, dt_bias: [E].
        backend: see `dnamamba.kernels`.

    Returns:
        y [B, E], in the dtype of `u`.
    """
    dtype = state.dtype
    if resolve(backend, u.device, dtype) == "triton":
        from .triton_step import selective_scan_step_triton

        return selective_scan_step_triton(state, u, dt, A, B, C, D, z, dt_bias)
    with without_autocast(u.device):
        u_BE = u.to(dtype)
        delta_BE = softplus(dt.to(dtype) + dt_bias.to(dtype))
        decay_BEN = torch.exp(delta_BE[:, :, None] * A.to(dtype))
        state.mul_(decay_BEN).addcmul_((delta_BE * u_BE)[:, :, None], B.to(dtype)[:, None, :])
        # Not a matrix product: that would be TF32 where torch is told to allow it.
        y_BE = (state * C.to(dtype)[:, None, :]).sum(-1)
        y_BE = torch.addcmul(y_BE, D.to(dtype), u_BE) * F.silu(z.to(dtype))
        return y_BE.to(u.dtype)
