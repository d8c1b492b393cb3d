"""The fused block, built of its parts: what runs, and the same as custom operators for torch.compile."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.causal_conv1d.triton_op import convolve, convolve_backward, last_inputs
from dnamamba.kernels.eager import differentiable, operator, ranks_of, refuse_ranks, watched
from dnamamba.kernels.precision import without_autocast
from dnamamba.kernels.ranks import Ranks, rows_before, rows_before_backward
from dnamamba.kernels.selective_scan.triton_launch import SEGMENT, held_states
from dnamamba.kernels.selective_scan.triton_op import scan_after, scan_backward, scan_forward

from .api import Block, BlockWeights
from .norm import rms_norm, rms_norm_backward
from .products import linear, linear_added


class _Parts(NamedTuple):
    """What a block computes on the way to its scan, all [B, L, ..].

    `before` and `last` are the inputs of the convolution before this part of the sequence and at the end of
    all of it, [B, K-1, E]; what is on one rank has no `last`. For a state alone there is no `z`.
    """

    normed: Tensor
    z: Tensor | None
    conv: Tensor
    low: Tensor
    dt: Tensor
    B: Tensor
    C: Tensor
    before: Tensor | None
    last: Tensor | None


def mamba_block_triton(
    x: Tensor,
    weights: BlockWeights,
    *,
    eps: float,
    dtype: torch.dtype,
    conv_state: Tensor | None,
    ssm_state: Tensor | None,
    starts: Tensor | None = None,
    ranks: Ranks | None = None,
) -> Block:
    """See `mamba_block`."""
    with without_autocast(x.device):
        cast = _cast(weights, dtype)
        inputs = (x, *weights, conv_state, ssm_state)
        before = (conv_state, ssm_state, starts)
        save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
        if watched():
            refuse_ranks(ranks)
            y, conv, ssm, _ = block_forward_op(x, *cast, *before, eps, save)
        else:
            compute: Callable[..., tuple[Tensor, ...]] = _differentiable_block if save else block_forward
            y, conv, ssm, _ = compute(x, *cast, *before, eps, save, ranks=ranks)
    return Block(y, conv, ssm)


def _cast(weights: BlockWeights, dtype: torch.dtype) -> BlockWeights:
    """Return the same with the matrices of products in `dtype`."""
    low = {"in_proj", "x_proj", "dt_proj", "out_proj"}
    return BlockWeights(*(w.to(dtype) if name in low else w for name, w in weights._asdict().items()))


def _parts(
    x: Tensor,
    weights: BlockWeights,
    conv_state: Tensor | None,
    starts: Tensor | None,
    eps: float,
    ranks: Ranks | None,
    *,
    gate: bool = True,
) -> tuple[_Parts, Tensor]:
    """Return the parts, and apart from them u, the convolution's input, so that it can be let go."""
    (channels, rank), states = weights.dt_proj.shape, weights.A.shape[1]
    normed = rms_norm(x, weights.norm, eps, weights.in_proj.dtype)
    u = linear(normed, weights.in_proj[:channels])
    z = linear(normed, weights.in_proj[channels:]) if gate else None
    before, last = conv_state, None
    kept = weights.conv_weight.shape[1] - 1
    if ranks is not None and kept:
        before, last = rows_before(u[:, -min(kept, u.shape[1]) :], conv_state, kept, ranks)
    conv = convolve(u, weights.conv_weight, weights.conv_bias, before, starts, True)
    low, B, C = linear(conv, weights.x_proj).split([rank, states, states], dim=-1)
    return _Parts(normed, z, conv, low, F.linear(low, weights.dt_proj), B, C, before, last), u


def block_forward(
    x: Tensor, norm: Tensor, in_proj: Tensor, conv_weight: Tensor, conv_bias: Tensor, x_proj: Tensor,
    dt_proj: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, out_proj: Tensor,
    conv_state: Tensor | None, ssm_state: Tensor | None, starts: Tensor | None, eps: float, save: bool,
    ranks: Ranks | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return y, both states after the last position, and (if `save`) the scan's before every segment.

    Args:
        x: [B, L, D].
        norm ... out_proj: the fields of `BlockWeights`.
        conv_state: [B, K - 1, E] or None.
        ssm_state: [B, E, N] or None.
        starts: uint8 [B, L] or None.
        eps: of the norm.
        save: whether a backward will follow.
        ranks: that hold the sequence.
    """
    weights = BlockWeights(norm, in_proj, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D, out_proj)
    p, u = _parts(x, weights, conv_state, starts, eps, ranks)
    conv_last = last_inputs(u, conv_state, conv_weight.shape[1] - 1) if p.last is None else p.last
    y, last, saved = scan_forward(
        p.conv, p.dt, A, p.B, p.C, D, p.z, dt_bias, ssm_state, starts, True, save, ranks
    )
    return linear_added(y, out_proj, x), conv_last, last, saved


def block_after(
    x: Tensor,
    weights: BlockWeights,
    *,
    eps: float,
    dtype: torch.dtype,
    conv_state: Tensor | None,
    ssm_state: Tensor | None,
    ranks: Ranks | None = None,
) -> tuple[Tensor, Tensor]:
    """See `mamba_block_after`."""
    with without_autocast(x.device):
        w = _cast(weights, dtype)
        if watched():
            refuse_ranks(ranks)
            return block_forward_op(x, *w, conv_state, ssm_state, None, eps, False)[1:3]
        p, u = _parts(x, w, conv_state, None, eps, ranks, gate=False)
        conv = last_inputs(u, conv_state, w.conv_weight.shape[1] - 1) if p.last is None else p.last
        return conv, scan_after(p.conv, p.dt, w.A, p.B, w.dt_bias, ssm_state, True, ranks)


block_forward_op = operator("mamba_block_forward", block_forward)


@block_forward_op.register_fake
def _block_forward_fake(  # type: ignore[no-untyped-def]
    x, norm, in_proj, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D, out_proj, conv_state, ssm_state,
    starts, eps, save,
):  # fmt: skip
    batch, length, _ = x.shape
    channels, states = A.shape
    segments = -(-length // SEGMENT) if save else 0
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        in_proj.new_empty(batch, conv_weight.shape[1] - 1, channels),
        x.new_empty(batch, channels, states, dtype=torch.float32),
        x.new_empty(batch, segments, held_states(states), channels, dtype=torch.float32),
    )


def block_backward(
    dy: Tensor, dconv: Tensor | None, dlast: Tensor | None,
    x: Tensor, norm: Tensor, in_proj: Tensor, conv_weight: Tensor, conv_bias: Tensor, x_proj: Tensor,
    dt_proj: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, out_proj: Tensor,
    conv_state: Tensor | None, ssm_state: Tensor | None, starts: Tensor | None, saved: Tensor, eps: float,
    ranks: Ranks | None = None,
) -> list[Tensor]:  # fmt: skip
    """Return the gradients of x, the ten weights and both initial states; empty for a state not given.

    Args:
        dy: [B, L, D], the gradient of y.
        dconv, dlast: the gradients of both last states, or None.
        x ... starts, eps, ranks: as in `block_forward`.
        saved: from `block_forward`.
    """
    weights = BlockWeights(norm, in_proj, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D, out_proj)
    p, u = _parts(x, weights, conv_state, starts, eps, ranks)
    del u  # while memory is short; it is one product to have it again
    dmixed = dy.to(out_proj.dtype)
    dconv_y, ddt, dA, dB, dC, dD, dz, ddt_bias, dssm, y = scan_backward(
        dmixed @ out_proj, dlast, p.conv, p.dt, A, p.B, p.C, D, p.z, dt_bias, ssm_state, starts, saved, True,
        True, ranks,
    )  # fmt: skip
    dout_proj = _rows(dmixed).t() @ _rows(y)
    del y, dmixed
    dlow = torch.cat([ddt @ dt_proj, dB, dC], dim=-1)
    ddt_proj = _rows(ddt).t() @ _rows(p.low)
    del ddt, dB, dC
    _rows(dconv_y).addmm_(_rows(dlow), x_proj)
    dx_proj = _rows(dlow).t() @ _rows(p.conv)
    channels = dconv_y.shape[-1]
    u = linear(p.normed, in_proj[:channels])
    du, dconv_weight, dconv_bias, dfirst = convolve_backward(
        dconv_y, u, conv_weight, conv_bias, p.before, starts, True
    )
    if p.last is not None:
        assert ranks is not None
        count = min(dfirst.shape[1], du.shape[1])
        dconv, dfirst = rows_before_backward(dfirst, dconv, count, ranks)
    if dconv is not None:
        du, dfirst = _add_last_inputs(du, dfirst, dconv)
    din_proj = torch.cat([_rows(du).t() @ _rows(p.normed), _rows(dz).t() @ _rows(p.normed)])
    dnormed = _rows(du) @ in_proj[:channels]
    dnormed.addmm_(_rows(dz), in_proj[channels:])
    dx, dnorm = rms_norm_backward(x, norm, dnormed, dy, eps)
    return [
        dx, dnorm, din_proj, dconv_weight, dconv_bias, dx_proj, ddt_proj, ddt_bias, dA, dD, dout_proj,
        dfirst, dssm,
    ]  # fmt: skip


block_backward_op = operator("mamba_block_backward", block_backward)


@block_backward_op.register_fake
def _block_backward_fake(  # type: ignore[no-untyped-def]
    dy, dconv, dlast, x, norm, in_proj, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D, out_proj,
    conv_state, ssm_state, starts, saved, eps,
):  # fmt: skip
    inputs = (
        x, norm, in_proj, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D, out_proj,
        conv_state, ssm_state,
    )  # fmt: skip
    return [
        x.new_empty(0) if t is None else torch.empty_like(t, memory_format=torch.contiguous_format)
        for t in inputs
    ]


def _add_last_inputs(du: Tensor, dfirst: Tensor, dconv: Tensor) -> tuple[Tensor, Tensor]:
    """Add the gradient of the convolution's last inputs to the inputs, and to the state where L is short."""
    count, length = dconv.shape[1], du.shape[1]
    seen = min(count, length)
    du[:, length - seen :] += dconv[:, count - seen :]
    if dfirst.numel() and seen < count:
        dfirst = dfirst.clone()
        dfirst[:, length:] += dconv[:, : count - seen]
    return du, dfirst


def _rows(x: Tensor) -> Tensor:
    return x.flatten(0, 1)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.eps, save = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[3])
    assert save, "mamba_block_forward was called to be differentiated without save=True"
    ctx.save_for_backward(*tensors, output[3])


def _backward(ctx, dy, dconv, dlast, _):  # type: ignore[no-untyped-def]
    *tensors, saved = ctx.saved_tensors
    if dy is None:
        dy = torch.zeros_like(tensors[0])
    arguments = (dy, dconv, dlast, *tensors, saved, ctx.eps)
    gradients = block_backward_op(*arguments) if watched() else block_backward(*arguments, ranks_of(ctx))
    present = [g if t is not None else None for g, t in zip(gradients, tensors[:-1], strict=True)]
    return (*present, None, None, None)


block_forward_op.register_autograd(_backward, setup_context=_setup_context)
_differentiable_block = differentiable(block_forward, _setup_context, _backward)
