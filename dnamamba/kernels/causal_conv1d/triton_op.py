"""The Triton convolution: what runs, and the same as custom operators for torch.compile."""

from typing import Literal

import torch
from torch import Tensor

from dnamamba.kernels.eager import differentiable, operator, watched
from dnamamba.kernels.launch import launch
from dnamamba.kernels.triton_math import fast_math

from .api import Convolution
from .triton_kernels import convolution_backward, convolution_forward

# The forward keeps ROWS + K - 1 rows of a tile in registers, the backward three times that; LOOPS blocks of a
# backward program share one partial sum of dweight and dbias.
_FORWARD = {"TILE": 128, "ROWS": 16, "num_warps": 1}
_BACKWARD = {"TILE": 128, "ROWS": 8, "num_warps": 2}
_LOOPS = 32


def causal_conv1d_triton(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    starts: Tensor | None = None,
) -> Convolution:
    """See `causal_conv1d`. fp32, bf16 and fp16 in; keeps nothing but its inputs for the backward.

    Raises:
        ValueError: `x` is fp64.
    """
    if x.dtype == torch.float64:
        raise ValueError(
            "backend 'triton' computes in fp32, but x is torch.float64; backend 'chunked' takes it"
        )
    compute = convolve_op if watched() else _differentiable_convolution
    y = compute(x, weight, bias, initial_state, starts, activation == "silu")
    return Convolution(y, last_inputs(x, initial_state, weight.shape[1] - 1))


def last_inputs(x: Tensor, initial_state: Tensor | None, count: int) -> Tensor:
    """Return the last `count` inputs, [B, count, E], the initial state's among them where L is short.

    Args:
        x: [B, L, E].
        initial_state: [B, K - 1, E], the inputs before x; None: zeros.
        count: K - 1.
    """
    length = x.shape[1]
    if length >= count:
        return x[:, length - count :].clone()
    if initial_state is None:
        initial_state = x.new_zeros(x.shape[0], count, x.shape[2])
    return torch.cat([initial_state[:, length:].to(x.dtype), x], dim=1)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    starts: Tensor | None,
    silu: bool,
    reverse: bool = False,
) -> Tensor:
    """Return y, [B, L, E].

    Args:
        x: [B, L, E].
        weight: [E, K].
        bias: [E] or None.
        initial_state: [B, K - 1, E] or None.
        starts: uint8 [B, L] or None, see `dnamamba.kernels.packing`.
        silu: whether SiLU follows.
        reverse: whether the sequence is read from its end, where the initial state then is.
    """
    batch, length, channels = x.shape
    x, weight, bias, initial_state = _rows(x), weight.contiguous(), _dense(bias), _dense(initial_state)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    tiles, blocks = -(-channels // _FORWARD["TILE"]), -(-length // _FORWARD["ROWS"])
    launch(
        convolution_forward, (batch * blocks * tiles,),
        x, weight, bias, initial_state, starts, y, x.stride(0), x.stride(1), length, channels, tiles, blocks,
        K=weight.shape[1], HAS_BIAS=bias is not None, HAS_FIRST=initial_state is not None,
        HAS_STARTS=starts is not None, SILU=silu, FAST=fast_math(x.dtype), TURN=-1 if reverse else 1,
        **_FORWARD,
    )  # fmt: skip
    return y


convolve_op = operator("causal_conv1d_forward", convolve)


@convolve_op.register_fake
def _convolve_fake(x, weight, bias, initial_state, starts, silu):  # type: ignore[no-untyped-def]
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def convolve_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    starts: Tensor | None,
    silu: bool,
    reverse: bool = False,
) -> list[Tensor]:
    """Return gradients of x, weight, bias and initial_state; of what was not given, an empty tensor.

    Args:
        dy: [B, L, E], the gradient of y.
        x ... reverse: as in `convolve`; in reverse without an initial state and starts.
    """
    assert not reverse or (initial_state is None and starts is None)
    batch, length, channels = x.shape
    taps = weight.shape[1]
    dtypes = [t.dtype if t is not None else x.dtype for t in (weight, bias, initial_state)]
    x, dy, weight, bias, initial_state = (
        _rows(x),
        _rows(dy),
        weight.contiguous(),
        _dense(bias),
        _dense(initial_state),
    )
    tiles = -(-channels // _BACKWARD["TILE"])
    loops = min(_LOOPS, -(-length // _BACKWARD["ROWS"]))
    blocks = -(-length // (loops * _BACKWARD["ROWS"]))
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    dweight = x.new_empty(batch * blocks, channels, taps, dtype=torch.float32)
    dbias = x.new_empty((batch * blocks, channels) if bias is not None else (0, 0), dtype=torch.float32)
    launch(
        convolution_backward, (batch * blocks * tiles,),
        x, weight, bias, initial_state, starts, dy, dx, dweight, dbias,
        x.stride(0), x.stride(1), dy.stride(0), dy.stride(1), length, channels, tiles, blocks, loops,
        K=taps, HAS_BIAS=bias is not None, HAS_FIRST=initial_state is not None,
        HAS_STARTS=starts is not None, SILU=silu, FAST=fast_math(x.dtype), TURN=-1 if reverse else 1,
        **_BACKWARD,
    )  # fmt: skip
    dfirst = x.new_empty(0)
    if initial_state is not None:
        dfirst = _first_gradient(dy, x, weight, bias, initial_state, silu).to(dtypes[2])
    return [dx, dweight.sum(0).to(dtypes[0]), dbias.sum(0).to(dtypes[1]), dfirst]


convolve_backward_op = operator("causal_conv1d_backward", convolve_backward)


@convolve_backward_op.register_fake
def _convolve_backward_fake(dy, x, weight, bias, initial_state, starts, silu):  # type: ignore[no-untyped-def]
    return [
        x.new_empty(0) if t is None else torch.empty_like(t, memory_format=torch.contiguous_format)
        for t in (x, weight, bias, initial_state)
    ]


def _first_gradient(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor, silu: bool
) -> Tensor:
    """Return the gradient of the initial state: K-1 rows, which only the first K-1 positions see."""
    taps = weight.shape[1]
    seen = min(taps - 1, x.shape[1])
    rows = torch.cat([initial_state.float(), x[:, :seen].float()], dim=1)
    a = torch.zeros_like(rows[:, :seen])
    for k in range(taps):
        a += weight[:, k].float() * rows[:, k : k + seen]
    da = dy[:, :seen].float()
    if silu:
        a = a if bias is None else a + bias.float()
        s = torch.sigmoid(a)
        da = da * s * (1 + a * (1 - s))
    gradient = torch.zeros_like(rows)
    for k in range(taps):
        gradient[:, k : k + seen] += weight[:, k].float() * da
    return gradient[:, : taps - 1]


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, dy):  # type: ignore[no-untyped-def]
    tensors = ctx.saved_tensors
    compute = convolve_backward_op if watched() else convolve_backward
    gradients = compute(dy, *tensors, ctx.silu)
    given = (g if t is not None else None for g, t in zip(gradients, tensors[:-1], strict=True))
    return (*given, None, None)


convolve_op.register_autograd(_backward, setup_context=_setup_context)
_differentiable_convolution = differentiable(convolve, _setup_context, _backward)


def _rows(x: Tensor) -> Tensor:
    """Return `x` with its last dimension dense, as the kernels read it."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _dense(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()
