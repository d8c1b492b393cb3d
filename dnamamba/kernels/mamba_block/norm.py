"""Launches of the norm's kernels, for the blocks that begin with it."""

import torch
from torch import Tensor

from dnamamba.kernels.launch import launch, power_of_two
from dnamamba.kernels.selective_scan.triton_op import processors

from .triton_norm import norm_forward, residual_norm_backward

_ROWS = 16


def rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Return the norm of [.., D] in `dtype`.

    Args:
        x: [.., D].
        weight: [D].
        eps: added to the mean square.
        dtype: of the result.
    """
    x = x.contiguous()
    width = x.shape[-1]
    normed = torch.empty_like(x, dtype=dtype)
    rows = x.numel() // width
    launch(
        norm_forward, (-(-rows // _ROWS),), x, weight, normed, rows, width, eps,
        ROWS=_ROWS, COLS=power_of_two(width), num_warps=4,
    )  # fmt: skip
    return normed


def rms_norm_backward(
    x: Tensor, weight: Tensor, dnormed: Tensor, dy: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and of the weight, for y = x + f(rms_norm(x)).

    Args:
        x: [.., D].
        weight: [D].
        dnormed: [.., D], the gradient of the norm.
        dy: [.., D], that of y.
        eps: as in `rms_norm`.
    """
    width = x.shape[-1]
    x, dy = x.contiguous(), dy.contiguous()
    rows = x.numel() // width
    # What a thread holds of four tensors decides how many programs run at once.
    block, warps = (_ROWS, 4) if width <= 128 else (4, 2)
    programs = min(-(-rows // block), 16 * processors(x.device))
    dx = torch.empty_like(x)
    dnorm = x.new_empty(programs, width, dtype=torch.float32)
    launch(
        residual_norm_backward, (programs,),
        x, weight, dnormed, dy, dx, dnorm, rows, width, eps,
        ROWS=block, COLS=power_of_two(width), num_warps=warps,
    )  # fmt: skip
    return dx, dnorm.sum(0).to(weight.dtype)
