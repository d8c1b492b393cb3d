"""The causal convolution with its activation in one pass over memory, forward and backward.

An item is a block of positions in one sequence, with all its channels, 16 at a time.
"""

from typing import Any

import numba
import numpy as np

from dnamamba.kernels.numba_cpu.compiling import compiled
from dnamamba.kernels.numba_cpu.functions import sigmoid, silu_slope
from dnamamba.kernels.numba_cpu.vectors import constant, load, store

_INPUTS = "float32[:,:,:], float32[:,:,::1], float32[:,::1], float32[::1], uint8[:,::1]"


@numba.njit
def _see(x: Any, first: Any, b: Any, start: Any, stop: Any, seen: Any) -> None:
    """Copy the inputs that the outputs `start` to `stop` see into `seen` [positions + K-1, E]."""
    before, channels = first.shape[1], x.shape[2]
    for s in range(start - before, stop):
        at = (s - start + before) * channels
        for e in range(0, channels, 16):
            if s < 0:
                store(seen, at + e, load(first, (b * before + before + s) * channels + e))
            else:
                store(seen, at + e, load(x, ((b * x.strides[0] + s * x.strides[1]) >> 2) + e))


@numba.njit
def _first_tap(places: Any, b: Any, t: Any, taps: Any) -> Any:
    """Return the first of the taps that stay in the sequence of position t."""
    return taps - 1 - np.int64(places[b, t]) if places.shape[0] > 0 else 0


@numba.njit(inline="always")
def _convolved(seen: Any, weight: Any, bias: Any, i: Any, e: Any, tap: Any) -> Any:
    channels = weight.shape[1]
    out = load(bias, e)
    for k in range(tap, weight.shape[0]):
        out = out + load(weight, k * channels + e) * load(seen, (i + k) * channels + e)
    return out


@compiled(f"void({_INPUTS}, float32[:,:,::1], int64, boolean, int64, int64)")
def convolution_forward(
    x: Any,
    first: Any,
    weight: Any,
    bias: Any,
    places: Any,
    y: Any,
    block: Any,
    silu: Any,
    begin: Any,
    end: Any,
) -> None:
    """Write `y` [B, L, E] for the items `begin` to `end`.

    Args:
        first: [B, K-1, E], the inputs before the first.
        weight: [K, E].
        places: [B, L], how far each position is in its sequence, at most K-1; or without rows.
    """
    _, length, channels = y.shape
    blocks, taps = (length + block - 1) // block, weight.shape[0]
    seen = np.empty((block + taps - 1) * channels, np.float32)
    for item in range(begin, end):
        b, start = item // blocks, item % blocks * block
        stop = min(start + block, length)
        after = stop if taps != 4 or places.shape[0] > 0 else min(start + 3, stop)
        _see(x, first, b, start, after, seen)
        for t in range(start, after):
            tap = _first_tap(places, b, t, taps)
            for e in range(0, channels, 16):
                out = _convolved(seen, weight, bias, t - start, e, tap)
                if silu:
                    out = out * sigmoid(out)
                store(y, (b * length + t) * channels + e, out)
        step = x.strides[1] >> 2
        for t in range(after, stop):  # with the width that most models have: nothing is copied
            at = (b * x.strides[0] >> 2) + t * step
            for e in range(0, channels, 16):
                out = load(bias, e) + load(weight, e) * load(x, at - 3 * step + e)
                out = out + load(weight, channels + e) * load(x, at - 2 * step + e)
                out = out + load(weight, 2 * channels + e) * load(x, at - step + e)
                out = out + load(weight, 3 * channels + e) * load(x, at + e)
                if silu:
                    out = out * sigmoid(out)
                store(y, (b * length + t) * channels + e, out)


@compiled(
    f"void({_INPUTS}, float32[:,:,:], float32[:,:,:], float32[:,:,::1], float32[:,:,::1], "
    "int64, boolean, int64, int64)"
)
def convolution_backward(
    x: Any,
    first: Any,
    weight: Any,
    bias: Any,
    places: Any,
    dy: Any,
    dx: Any,
    d_first: Any,
    sums: Any,
    block: Any,
    silu: Any,
    begin: Any,
    end: Any,
) -> None:
    """Write the gradients of the items `begin` to `end`.

    Args:
        dx: [B, L, E]; d_first: [B, K-1, E].
        sums: [items, K + 1, E], every item's part of the K taps' and the bias's gradients.
    """
    _, length, channels = dx.shape
    taps = weight.shape[0]
    blocks = (length + block - 1) // block
    zero = constant(0.0)
    # The gradient before the activation: of the block, and of the positions that its last inputs reach.
    d_out = np.empty((block + taps - 1) * channels, np.float32)
    seen = np.empty((block + 2 * (taps - 1)) * channels, np.float32)
    for item in range(begin, end):
        b, start = item // blocks, item % blocks * block
        stop = min(start + block, length)
        reach = min(stop + taps - 1, length)
        _see(x, first, b, start, reach, seen)
        for e in range(0, (taps + 1) * channels, 16):
            store(sums, item * (taps + 1) * channels + e, zero)
        for t in range(start, stop + taps - 1):
            tap = _first_tap(places, b, min(t, length - 1), taps)
            for e in range(0, channels, 16):
                at = (t - start) * channels + e
                if t >= reach:
                    store(d_out, at, zero)
                    continue
                d = load(dy, ((b * dy.strides[0] + t * dy.strides[1]) >> 2) + e)
                if silu:
                    out = _convolved(seen, weight, bias, t - start, e, tap)
                    d = d * silu_slope(out, sigmoid(out))
                store(d_out, at, d)
                if t < stop:
                    total = (item * (taps + 1) + tap) * channels + e
                    for k in range(tap, taps):
                        store(sums, total, load(sums, total) + d * load(seen, at + k * channels))
                        total += channels
                    store(sums, total, load(sums, total) + d)
        for s in range(start, stop):
            tap = 0
            if places.shape[0] > 0:  # then outputs of the next sequence did not see this input
                tap = taps - 1
                while tap > 0 and s + taps - tap < length and places[b, s + taps - tap] >= taps - tap:
                    tap -= 1
            for e in range(0, channels, 16):
                d = zero
                for k in range(tap, taps):
                    place = (s - start + taps - 1 - k) * channels + e
                    d = d + load(weight, k * channels + e) * load(d_out, place)
                store(dx, ((b * dx.strides[0] + s * dx.strides[1]) >> 2) + e, d)
        if start == 0:
            for j in range(taps - 1):
                for e in range(0, channels, 16):
                    d = zero
                    for k in range(j + 1):
                        d = d + load(weight, k * channels + e) * load(d_out, (j - k) * channels + e)
                    store(d_first, (b * (taps - 1) + j) * channels + e, d)
