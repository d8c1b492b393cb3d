"""The block that reads both ways, built of its parts: what runs, and custom operators for torch.compile."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.causal_conv1d.triton_op import convolve, convolve_backward
from dnamamba.kernels.eager import differentiable, operator, watched
from dnamamba.kernels.launch import launch
from dnamamba.kernels.mamba_block.norm import rms_norm, rms_norm_backward
from dnamamba.kernels.mamba_block.products import linear, linear_added
from dnamamba.kernels.precision import without_autocast
from dnamamba.kernels.selective_scan.triton_launch import SEGMENT, held_states
from dnamamba.kernels.selective_scan.triton_op import scan_backward, scan_forward
from dnamamba.kernels.triton_math import fast_math

from .api import BidirectionalWeights, DirectionWeights
from .triton_gate import gate_backward, gate_forward, gate_gradient

_BLOCK = 2048
_OF_A_DIRECTION = len(DirectionWeights._fields)


class _ScanInputs(NamedTuple):
    """What a direction computes from u on the way to its scan, all [B, L, ..]."""

    conv: Tensor
    low: Tensor
    dt: Tensor
    B: Tensor
    C: Tensor


def bidirectional_block_triton(
    x: Tensor, weights: BidirectionalWeights, *, eps: float, dtype: torch.dtype
) -> Tensor:
    """See `bidirectional_block`; computes in fp32, and refuses fp64."""
    if torch.float64 in (x.dtype, dtype):
        raise ValueError("backend 'triton' computes in fp32, but x is torch.float64; 'chunked' takes it")
    with without_autocast(x.device):
        norm, in_proj, out_proj, *directions = weights
        own = [w for direction in directions for w in _cast(direction, dtype)]
        inputs = (x, norm, in_proj.to(dtype), out_proj.to(dtype), *own)
        save = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
        if watched():
            return block_forward_op(*inputs, eps, save)[0]
        compute: Callable[..., tuple[Tensor, ...]] = _differentiable_block if save else block_forward
        return compute(*inputs, eps, save)[0]


def _cast(weights: DirectionWeights, dtype: torch.dtype) -> DirectionWeights:
    """Return the same with the matrices of products in `dtype`."""
    return weights._replace(x_proj=weights.x_proj.to(dtype), dt_proj=weights.dt_proj.to(dtype))


def block_forward(
    x: Tensor, norm: Tensor, in_proj: Tensor, out_proj: Tensor,
    conv_weight: Tensor, conv_bias: Tensor, x_proj: Tensor, dt_proj: Tensor, dt_bias: Tensor, A: Tensor,
    D: Tensor,
    back_conv_weight: Tensor, back_conv_bias: Tensor, back_x_proj: Tensor, back_dt_proj: Tensor,
    back_dt_bias: Tensor, back_A: Tensor, back_D: Tensor,
    eps: float, save: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return y and (if `save`) both scans' states before every segment, counted from their own ends.

    Args:
        x: [B, L, D].
        norm ... out_proj: the fields of `BidirectionalWeights`.
        conv_weight ... D: the fields of `DirectionWeights` ahead.
        back_conv_weight ... back_D: those back.
        eps: of the norm.
        save: whether a backward will follow.
    """
    ahead = DirectionWeights(conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D)
    back = DirectionWeights(
        back_conv_weight, back_conv_bias, back_x_proj, back_dt_proj, back_dt_bias, back_A, back_D
    )
    channels = out_proj.shape[1]
    normed = rms_norm(x, norm, eps, in_proj.dtype)
    u = linear(normed, in_proj[:channels])
    y_ahead, saved_ahead = _scan(u, ahead, save, reverse=False)
    y_back, saved_back = _scan(u, back, save, reverse=True)
    del u
    z = linear(normed, in_proj[channels:])
    _elementwise(gate_forward, y_ahead, y_back, z, y_ahead)
    return linear_added(y_ahead, out_proj, x), saved_ahead, saved_back


def _scan(u: Tensor, w: DirectionWeights, save: bool, *, reverse: bool) -> tuple[Tensor, Tensor]:
    """Return what one direction makes of u before the gate, [B, L, E], and its saved states."""
    p = _scan_inputs(u, w, reverse)
    y, _, saved = scan_forward(
        p.conv, p.dt, w.A, p.B, p.C, w.D, None, w.dt_bias, None, None, True, save, None, reverse
    )
    return y, saved


def _scan_inputs(u: Tensor, w: DirectionWeights, reverse: bool) -> _ScanInputs:
    rank, states = w.dt_proj.shape[1], w.A.shape[1]
    conv = convolve(u, w.conv_weight, w.conv_bias, None, None, True, reverse)
    low, B, C = linear(conv, w.x_proj).split([rank, states, states], dim=-1)
    return _ScanInputs(conv, low, F.linear(low, w.dt_proj), B, C)


block_forward_op = operator("bidirectional_block_forward", block_forward)


@block_forward_op.register_fake
def _block_forward_fake(x, norm, in_proj, out_proj, *rest):  # type: ignore[no-untyped-def]
    (*_, A, _), save = rest[:_OF_A_DIRECTION], rest[-1]
    segments = -(-x.shape[1] // SEGMENT) if save else 0
    shape = x.shape[0], segments, held_states(A.shape[1]), A.shape[0]
    saved = (x.new_empty(shape, dtype=torch.float32) for _ in range(2))
    return torch.empty_like(x, memory_format=torch.contiguous_format), *saved


def block_backward(
    dy: Tensor, x: Tensor, norm: Tensor, in_proj: Tensor, out_proj: Tensor,
    conv_weight: Tensor, conv_bias: Tensor, x_proj: Tensor, dt_proj: Tensor, dt_bias: Tensor, A: Tensor,
    D: Tensor,
    back_conv_weight: Tensor, back_conv_bias: Tensor, back_x_proj: Tensor, back_dt_proj: Tensor,
    back_dt_bias: Tensor, back_A: Tensor, back_D: Tensor,
    saved_ahead: Tensor, saved_back: Tensor, eps: float,
) -> list[Tensor]:  # fmt: skip
    """Return the gradients of x and of all weights.

    Args:
        dy: [B, L, D], the gradient of y.
        x ... back_D, eps: as in `block_forward`.
        saved_ahead, saved_back: from `block_forward`.
    """
    ahead = DirectionWeights(conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D)
    back = DirectionWeights(
        back_conv_weight, back_conv_bias, back_x_proj, back_dt_proj, back_dt_bias, back_A, back_D
    )
    channels = out_proj.shape[1]
    normed = rms_norm(x, norm, eps, in_proj.dtype)
    u = linear(normed, in_proj[:channels])
    z = linear(normed, in_proj[channels:])
    dmixed = dy.to(out_proj.dtype)
    dgated = dmixed @ out_proj
    dscan = torch.empty_like(z)
    _elementwise(gate_gradient, dgated, z, dscan)
    y_ahead, du, d_ahead = _scan_backward(dscan, u, ahead, saved_ahead, reverse=False)
    y_back, du_back, d_back = _scan_backward(dscan, u, back, saved_back, reverse=True)
    du += du_back
    del u, dscan, du_back
    _elementwise(gate_backward, y_ahead, y_back, z, dgated, y_ahead, y_back)
    y, dz = y_ahead, y_back
    dout_proj = _rows(dmixed).t() @ _rows(y)
    del z, dgated, dmixed, y, y_ahead
    din_proj = torch.cat([_rows(du).t() @ _rows(normed), _rows(dz).t() @ _rows(normed)])
    dnormed = _rows(du) @ in_proj[:channels]
    dnormed.addmm_(_rows(dz), in_proj[channels:])
    dx, dnorm = rms_norm_backward(x, norm, dnormed, dy, eps)
    return [dx, dnorm, din_proj, dout_proj, *d_ahead, *d_back]


def _scan_backward(
    dy: Tensor, u: Tensor, w: DirectionWeights, saved: Tensor, *, reverse: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return what `_scan` did, the gradient of u, and those of the direction's weights."""
    p = _scan_inputs(u, w, reverse)
    dconv_y, ddt, dA, dB, dC, dD, _, ddt_bias, _, y = scan_backward(
        dy,
        None,
        p.conv,
        p.dt,
        w.A,
        p.B,
        p.C,
        w.D,
        None,
        w.dt_bias,
        None,
        None,
        saved,
        True,
        True,
        None,
        reverse,
    )
    dlow = torch.cat([ddt @ w.dt_proj, dB, dC], dim=-1)
    ddt_proj = _rows(ddt).t() @ _rows(p.low)
    del ddt, dB, dC
    _rows(dconv_y).addmm_(_rows(dlow), w.x_proj)
    dx_proj = _rows(dlow).t() @ _rows(p.conv)
    du, dconv_weight, dconv_bias, _ = convolve_backward(
        dconv_y, u, w.conv_weight, w.conv_bias, None, None, True, reverse
    )
    return y, du, [dconv_weight, dconv_bias, dx_proj, ddt_proj, ddt_bias, dA, dD]


block_backward_op = operator("bidirectional_block_backward", block_backward)


@block_backward_op.register_fake
def _block_backward_fake(dy, *rest):  # type: ignore[no-untyped-def]
    *inputs, _, _, _ = rest
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in inputs]


def _elementwise(kernel: Any, *tensors: Tensor) -> None:
    """Run a kernel of `triton_gate` on dense tensors of one shape."""
    size = tensors[0].numel()
    launch(
        kernel, (-(-size // _BLOCK),), *tensors, size,
        BLOCK=_BLOCK, FAST=fast_math(tensors[0].dtype), num_warps=4,
    )  # fmt: skip


def _rows(x: Tensor) -> Tensor:
    return x.flatten(0, 1)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.eps, save = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    assert save, "bidirectional_block_forward was called to be differentiated without save=True"
    ctx.save_for_backward(*tensors, *output[1:])


def _backward(ctx, dy, *_):  # type: ignore[no-untyped-def]
    *tensors, saved_ahead, saved_back = ctx.saved_tensors
    if dy is None:
        return (None,) * (len(tensors) + 2)
    compute = block_backward_op if watched() else block_backward
    return *compute(dy, *tensors, saved_ahead, saved_back, ctx.eps), None, None


block_forward_op.register_autograd(_backward, setup_context=_setup_context)
_differentiable_block = differentiable(block_forward, _setup_context, _backward)
