"""The causal convolution as shifted multiply-adds over blocks of time that stay in the cache.

torch's own convolution wants the channels before the time and keeps what the activation saw. Here a block of
[B, block, E] goes through all taps and the activation before the next is read, and the backward pass rebuilds
it, so that only the input is kept.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnamamba.kernels.exact import exact, exact_zeros, rounded
from dnamamba.kernels.packing import places
from dnamamba.kernels.precision import state_dtype, without_autocast

from .api import Convolution

# Elements of a block: enough for every operation to use several cores, few enough to stay in the cache.
FILL_BLOCK = 1 << 18
SHORTEST_BLOCK = 16

aten = torch.ops.aten


def causal_conv1d_chunked(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    starts: Tensor | None = None,
) -> Convolution:
    """See `causal_conv1d`. Once differentiable."""
    batch, length, channels = x.shape
    before = weight.shape[1] - 1
    if initial_state is None:
        initial_state = x.new_zeros(batch, before, channels)
    with without_autocast(x.device):
        initial_state = initial_state.to(x.dtype)
        y = _ChunkedConvolution.apply(x, weight, bias, initial_state, activation, starts)
        # Copied, because a view would keep the whole sequence alive for as long as its last positions.
        state = torch.cat([initial_state[:, length:], x[:, max(0, length - before) :]], dim=1)
    return Convolution(y, state)


class _ChunkedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        initial_state: Tensor,
        activation: str | None,
        starts: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, initial_state, starts)
        ctx.activation = activation
        taps, offset = _filters(x, weight, bias)
        y = x.new_empty(x.shape)
        block, _ = _buffers(x, len(taps))
        reach = _reach(starts, before=len(taps) - 1)
        for steps, inputs in _blocks(x, initial_state):
            before = _convolve(inputs, taps, offset, block, _during(reach, steps))
            y[:, steps] = aten.silu_(before) if activation == "silu" else before
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, initial_state, starts = ctx.saved_tensors
        taps, offset = _filters(x, weight, bias)
        dx = x.new_empty(x.shape)
        d_taps = [exact_zeros(*tap.shape, device=tap.device) for tap in taps]
        d_offset = torch.zeros_like(d_taps[0])
        reach = _reach(starts, before=len(taps) - 1)
        halo = x.new_zeros(x.shape[0], len(taps) - 1, x.shape[2], dtype=offset.dtype)
        with without_autocast(x.device):
            block, ahead = _buffers(x, len(taps))
            for steps, inputs in reversed(list(_blocks(x, initial_state))):
                size = steps.stop - steps.start
                d_before = ahead[:, :size]
                if ctx.activation == "silu":
                    before = _convolve(inputs, taps, offset, block, _during(reach, steps))
                    d_y = dy[:, steps].to(before.dtype)
                    aten.silu_backward.grad_input(d_y, before, grad_input=d_before)
                else:
                    d_before.copy_(dy[:, steps])
                ahead[:, size : size + len(taps) - 1] = halo
                scratch = block[:, :size]
                for k, d_tap in enumerate(d_taps):
                    torch.mul(d_before, inputs[:, k : k + size], out=scratch)
                    d_tap += exact(_within(scratch, _during(reach, steps), len(taps) - 1 - k).sum((0, 1)))
                d_offset += exact(d_before.sum((0, 1)))
                dx[:, steps] = _correlate(
                    ahead[:, : size + len(taps) - 1],
                    taps,
                    scratch,
                    _during(reach, slice(steps.start, steps.stop + len(taps) - 1)),
                )
                halo.copy_(ahead[:, : len(taps) - 1])
            # The halo is now what the first outputs received, and the inputs before them had a part in those.
            behind = torch.cat([torch.zeros_like(halo), halo], dim=1)
            d_initial = _correlate(behind, taps, torch.empty_like(halo), None)
        return (
            dx,
            rounded(torch.stack(d_taps, dim=1), weight),
            None if bias is None else rounded(d_offset, bias),
            d_initial.to(initial_state.dtype),
            None,
            None,
        )


def _filters(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return the K taps and the offset, each [E], in the dtype of the arithmetic."""
    dtype = state_dtype(x.dtype)
    taps = weight.to(dtype).t().contiguous().unbind(0)
    return taps, torch.zeros_like(taps[0]) if bias is None else bias.to(dtype)


def _block_length(x: Tensor, width: int) -> int:
    batch, length, channels = x.shape
    return min(length, max(SHORTEST_BLOCK, width - 1, FILL_BLOCK // (batch * channels)))


def _buffers(x: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return room for a block, and for a block with the halo that the taps see beyond it."""
    batch, _, channels = x.shape
    size, dtype = _block_length(x, width), state_dtype(x.dtype)
    return (
        x.new_empty(batch, size, channels, dtype=dtype),
        x.new_empty(batch, size + width - 1, channels, dtype=dtype),
    )


def _blocks(x: Tensor, initial_state: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the steps of every block with the inputs that it sees, K-1 of them from before it."""
    length, before = x.shape[1], initial_state.shape[1]
    size = _block_length(x, before + 1)
    for start in range(0, length, size):
        stop = min(start + size, length)
        seen = torch.cat([initial_state, x[:, :stop]], dim=1) if start == 0 else x[:, start - before : stop]
        yield slice(start, stop), seen


def _reach(starts: Tensor | None, before: int) -> Tensor | None:
    """Return how many inputs before its own each output sees, [B, L + before]; 0 beyond the end."""
    return None if starts is None else torch.nn.functional.pad(places(starts, before), (0, before))


def _during(reach: Tensor | None, steps: slice) -> Tensor | None:
    return None if reach is None else reach[:, steps]


def _within(x: Tensor, reach: Tensor | None, back: int) -> Tensor:
    """Return `x` [B, l, E], zero where `reach` [B, l] is less than `back`."""
    return x if reach is None or back == 0 else x * (reach >= back)[..., None]


def _convolve(
    inputs: Tensor, taps: tuple[Tensor, ...], offset: Tensor, block: Tensor, reach: Tensor | None
) -> Tensor:
    """Write offset + sum over k of taps[k] inputs[t + k] into `block` and return the part written.

    Args:
        inputs: [B, l + K - 1, E].
        taps, offset: from `_filters`.
        block: written.
        reach: [B, l], how far back an output sees; None: to all inputs.
    """
    last = len(taps) - 1
    size = inputs.shape[1] - last
    out = block[:, :size]
    torch.addcmul(offset, _within(inputs[:, :size], reach, last), taps[0], out=out)
    for k, tap in enumerate(taps[1:], start=1):
        out.addcmul_(_within(inputs[:, k : k + size], reach, last - k), tap)
    return out


def _correlate(outputs: Tensor, taps: tuple[Tensor, ...], out: Tensor, reach: Tensor | None) -> Tensor:
    """Write the sum over k of taps[k] outputs[t + K-1-k] into `out`: the adjoint of `_convolve`.

    Args:
        outputs: [B, l + K - 1, E].
        taps: from `_filters`.
        out: [B, l, E], written.
        reach: [B, l + K - 1], how far back an output sees; None: to all inputs.
    """
    size, last = out.shape[1], len(taps) - 1

    def seen(k: int) -> Tensor:
        steps = slice(last - k, last - k + size)
        return _within(outputs[:, steps], _during(reach, steps), last - k)

    torch.mul(seen(0), taps[0], out=out)
    for k, tap in enumerate(taps[1:], start=1):
        out.addcmul_(seen(k), tap)
    return out
