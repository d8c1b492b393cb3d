"""The causal convolution by compiled CPU kernels."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnamamba.kernels.numba_cpu.layout import array, back, like, padded, rows_of
from dnamamba.kernels.numba_cpu.threads import share
from dnamamba.kernels.packing import places

from .api import Convolution
from .numba_kernels import convolution_backward, convolution_forward

# Positions an item: the backward pass keeps [BLOCK, E] in the second-level cache.
BLOCK = 128


@torch.compiler.disable
def causal_conv1d_numba(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    starts: Tensor | None = None,
) -> Convolution:
    """See `causal_conv1d`. Once differentiable; keeps nothing but its inputs."""
    batch, length, channels = x.shape
    before = weight.shape[1] - 1
    if initial_state is None:
        initial_state = x.new_zeros(batch, before, channels)
    initial_state = initial_state.to(x.dtype)
    y = _NumbaConvolution.apply(x, weight, bias, initial_state, starts, activation == "silu")
    # Copied, because a view would keep the whole sequence alive for as long as its last positions.
    return Convolution(y, torch.cat([initial_state[:, length:], x[:, max(0, length - before) :]], dim=1))


class _NumbaConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        initial_state: Tensor,
        starts: Tensor | None,
        silu: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, initial_state, starts)
        ctx.silu = silu
        y = like(x, padded(x.shape[2]))
        arrays = [*_arrays(x, weight, bias, initial_state, starts), y.numpy()]
        share(_items(x), lambda begin, end: convolution_forward(*arrays, BLOCK, silu, begin, end))
        return back(y, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, initial_state, starts = ctx.saved_tensors
        channels, taps = weight.shape
        E = padded(channels)
        dx, d_first = like(x, E), like(initial_state, E)
        sums = dx.new_empty(_items(x), taps + 1, E)
        written = [tensor.numpy() for tensor in (dx, d_first, sums)]
        arrays = [*_arrays(x, weight, bias, initial_state, starts), array(dy, E), *written]
        share(_items(x), lambda begin, end: convolution_backward(*arrays, BLOCK, ctx.silu, begin, end))
        total = sums.sum(0, dtype=torch.float64)[:, :channels]
        return (
            back(dx, x),
            total[:taps].t().to(weight.dtype),
            None if bias is None else total[taps].to(bias.dtype),
            back(d_first, initial_state),
            None,
            None,
        )


def _items(x: Tensor) -> int:
    return x.shape[0] * -(-x.shape[1] // BLOCK)


def _arrays(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor, starts: Tensor | None
) -> list[Any]:
    E = padded(x.shape[2])
    offset = x.new_zeros(E, dtype=torch.float32) if bias is None else bias.contiguous()
    return [
        array(x, E),
        array(initial_state.contiguous(), E),
        array(weight.t().contiguous(), E),
        array(offset, E),
        rows_of(None if starts is None else places(starts, weight.shape[1] - 1)),
    ]
