"""The adjoint of the selective scan, 16 channels at a time; `chunked_backward` has the maths.

The states of a chunk and their decays are computed again from the state kept before it, into a buffer of the
chunk's length; then one walk back makes all gradients. Sums over channels are folded 16 states at a time.
"""

from typing import Any

import numpy as np

from dnamamba.kernels.numba_cpu.compiling import compiled
from dnamamba.kernels.numba_cpu.functions import sigmoid, silu_slope, softplus
from dnamamba.kernels.numba_cpu.vectors import constant, exp, load, spread, store, sums_of_lanes

from .numba_forward import ROWS


@compiled(
    f"void({ROWS}, {ROWS}, {ROWS}, {ROWS}, {ROWS}, {ROWS}, float32[:,::1], float32[::1], float32[::1], "
    f"uint8[:,::1], float32[:,:,:,::1], float32[:,:,::1], float32[:,:,::1], float32[:,:,::1], {ROWS}, "
    "float32[:,:,:,::1], float32[:,:,:,::1], float64[:,:,::1], float64[:,::1], float64[:,::1], "
    "int64, int64, boolean, boolean, int64, int64)"
)
def scan_backward(
    u: Any,
    dt: Any,
    z: Any,
    B: Any,
    C: Any,
    dy: Any,
    A: Any,
    D: Any,
    dt_bias: Any,
    starts: Any,
    kept: Any,
    adjoint: Any,
    du: Any,
    ddt: Any,
    dz: Any,
    dB: Any,
    dC: Any,
    dA: Any,
    dD: Any,
    ddt_bias: Any,
    chunk: Any,
    groups: Any,
    dt_softplus: Any,
    gated: Any,
    first: Any,
    last: Any,
) -> None:
    """Go through the items `first` to `last` in reverse; an item is one group of a sequence's channels.

    Args:
        starts: [B, L], 1 where a sequence begins; or without rows.
        kept: [B, chunks, N, E] from the forward pass.
        adjoint: [B, N, E], the derivative with respect to the last state; replaced by that of the first.
        du, ddt, dz: [B, L, E], written.
        dB, dC: [groups, B, L, N], the sums over the channels of a group, written.
        dA, dD, ddt_bias: [B, N, E], [B, E], [B, E], the sums over time, written.
    """
    _, length, channels = du.shape
    states = A.shape[0]
    row = states * 16
    tiles = channels // 16
    zero, packed = constant(0.0), starts.shape[0] > 0
    A_tile, g, A_sum = np.empty(row, np.float32), np.empty(row, np.float32), np.empty(row, np.float32)
    to_dB, to_dC = np.empty(row, np.float32), np.empty(row, np.float32)
    sums = np.empty(32, np.float32)
    # One row more: the state before the chunk.
    h, decays = np.empty((chunk + 1) * row, np.float32), np.empty(chunk * row, np.float32)
    deltas, ungated = np.empty(chunk * 16, np.float32), np.empty(chunk * 16, np.float32)
    for item in range(first, last):
        b, group = item // groups, item % groups
        out = (group * dB.shape[1] + b) * length * states
        for tile in range(tiles * group // groups, tiles * (group + 1) // groups):
            fresh = tile == tiles * group // groups
            e = tile * 16
            skip, bias = load(D, e), load(dt_bias, e)
            for n in range(states):
                store(A_tile, n * 16, load(A, n * channels + e))
                store(g, n * 16, load(adjoint, (b * states + n) * channels + e))
            dA[b, :, e : e + 16] = 0.0
            dD[b, e : e + 16] = 0.0
            ddt_bias[b, e : e + 16] = 0.0
            for piece in range(kept.shape[1] - 1, -1, -1):
                start = piece * chunk
                steps = min(chunk, length - start)
                for n in range(states):
                    place = ((b * kept.shape[1] + piece) * states + n) * channels + e
                    store(h, n * 16, load(kept, place))
                    store(A_sum, n * 16, zero)
                for i in range(steps):
                    t = start + i
                    delta = load(dt, ((b * dt.strides[0] + t * dt.strides[1]) >> 2) + e) + bias
                    if dt_softplus:
                        delta = softplus(delta)
                    now = load(u, ((b * u.strides[0] + t * u.strides[1]) >> 2) + e)
                    drive, y = delta * now, skip * now
                    at_B = (b * B.strides[0] + t * B.strides[1]) >> 2
                    at_C = (b * C.strides[0] + t * C.strides[1]) >> 2
                    anew = packed and starts[b, t] != 0
                    for n in range(states):
                        place = i * row + n * 16
                        decay = exp(delta * load(A_tile, n * 16))
                        if anew:
                            decay = zero
                        after = decay * load(h, place) + drive * spread(B, at_B + n)
                        store(decays, place, decay)
                        store(h, place + row, after)
                        y = y + after * spread(C, at_C + n)
                    store(deltas, i * 16, delta)
                    store(ungated, i * 16, y)
                D_sum, bias_sum = zero, zero
                for i in range(steps - 1, -1, -1):
                    t = start + i
                    place = (b * length + t) * channels + e
                    d_y = load(dy, ((b * dy.strides[0] + t * dy.strides[1]) >> 2) + e)
                    if gated:
                        at_z = load(z, ((b * z.strides[0] + t * z.strides[1]) >> 2) + e)
                        gate = sigmoid(at_z)
                        at_dz = ((b * dz.strides[0] + t * dz.strides[1]) >> 2) + e
                        store(dz, at_dz, d_y * load(ungated, i * 16) * silu_slope(at_z, gate))
                        d_y = d_y * (at_z * gate)
                    delta = load(deltas, i * 16)
                    now = load(u, ((b * u.strides[0] + t * u.strides[1]) >> 2) + e)
                    drive, d_drive, d_delta = delta * now, zero, zero
                    at_B = (b * B.strides[0] + t * B.strides[1]) >> 2
                    at_C = (b * C.strides[0] + t * C.strides[1]) >> 2
                    for n in range(states):
                        at = i * row + n * 16
                        here = load(g, n * 16) + d_y * spread(C, at_C + n)
                        store(to_dC, n * 16, d_y * load(h, at + row))
                        store(to_dB, n * 16, drive * here)
                        d_drive = d_drive + here * spread(B, at_B + n)
                        back = load(decays, at) * here
                        store(g, n * 16, back)
                        q = back * load(h, at)
                        d_delta = d_delta + q * load(A_tile, n * 16)
                        store(A_sum, n * 16, load(A_sum, n * 16) + q * delta)
                    for n in range(0, states, 16):
                        at = out + t * states + n
                        sum_B, sum_C = sums_of_lanes(to_dB, n * 16), sums_of_lanes(to_dC, n * 16)
                        if not fresh:
                            sum_B, sum_C = sum_B + load(dB, at), sum_C + load(dC, at)
                        store(dB, at, sum_B)
                        store(dC, at, sum_C)
                    d_delta = d_delta + d_drive * now
                    if dt_softplus:
                        raw = load(dt, ((b * dt.strides[0] + t * dt.strides[1]) >> 2) + e) + bias
                        d_delta = d_delta * sigmoid(raw)
                    store(ddt, place, d_delta)
                    store(du, place, d_drive * delta + d_y * skip)
                    D_sum = D_sum + d_y * now
                    bias_sum = bias_sum + d_delta
                store(sums, 0, D_sum)
                store(sums, 16, bias_sum)
                for lane in range(16):
                    dD[b, e + lane] += sums[lane]
                    ddt_bias[b, e + lane] += sums[16 + lane]
                    for n in range(states):
                        dA[b, n, e + lane] += A_sum[n * 16 + lane]
            for n in range(states):
                store(adjoint, (b * states + n) * channels + e, load(g, n * 16))
