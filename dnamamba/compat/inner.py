"""What lies between a Mamba block's in_proj and its output, as mamba_ssm's fused function takes it."""

from typing import cast

import torch.nn.functional as F
from torch import Tensor

from dnamamba.compat.conv import causal_conv1d_fn
from dnamamba.compat.scan import selective_scan_fn


def mamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
    b_rms_weight: Tensor | None = None,
    c_rms_weight: Tensor | None = None,
    dt_rms_weight: Tensor | None = None,
    b_c_dt_rms_eps: float = 1e-6,
) -> Tensor:
    """Convolve, scan, gate and project.

    Args:
        xz: [B, 2 E, L], what in_proj makes.
        conv1d_weight: [E, 1, K].
        conv1d_bias: [E].
        x_proj_weight: [R + N + N, E]; without the rows of a B or C that is given.
        delta_proj_weight: [E, R].
        out_proj_weight: [D, E].
        out_proj_bias: [D].
        A: [E, N], real.
        B, C: as `selective_scan_fn` takes them; None: made by x_proj.
        D: [E].
        delta_bias: [E].
        B_proj_bias, C_proj_bias: [N], added to the B and C that x_proj makes.
        delta_softplus: whether the step is softplus(delta + delta_bias).
        checkpoint_lvl: without effect: our kernels decide what they keep.
        b_rms_weight, c_rms_weight, dt_rms_weight: [N], [N], [E], weights of RMSNorms over B, C and delta.
        b_c_dt_rms_eps: of these norms.

    Returns:
        [B, L, D].

    Raises:
        ValueError: a tensor's shape, dtype or device does not go with the others.
    """
    rank, states = delta_proj_weight.shape[1], A.shape[1]
    x, z = xz.chunk(2, dim=1)
    x = cast(Tensor, causal_conv1d_fn(x, conv1d_weight.squeeze(1), conv1d_bias, activation="silu"))
    made = F.linear(x.transpose(1, 2), x_proj_weight)
    delta = F.linear(made[..., :rank], delta_proj_weight)
    if B is None:
        B = _along(made[..., rank : rank + states], B_proj_bias, b_rms_weight, b_c_dt_rms_eps)
    if C is None:
        C = _along(made[..., -states:], C_proj_bias, c_rms_weight, b_c_dt_rms_eps)
    delta = _along(delta, None, dt_rms_weight, b_c_dt_rms_eps)
    y = selective_scan_fn(x, delta, A, B, C, D, z, delta_bias, delta_softplus)
    return F.linear(cast(Tensor, y).transpose(1, 2), out_proj_weight, out_proj_bias)


def _along(tensor: Tensor, bias: Tensor | None, norm: Tensor | None, eps: float) -> Tensor:
    """Add bias and norm to [B, L, N], and return [B, N, L]."""
    if bias is not None:
        tensor = tensor + bias.to(tensor.dtype)
    if norm is not None:
        tensor = F.rms_norm(tensor, tensor.shape[-1:], norm.to(tensor.dtype), eps)
    return tensor.transpose(1, 2)
