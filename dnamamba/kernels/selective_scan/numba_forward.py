"""The selective scan's forward pass, 16 channels at a time: one exponential per state; states kept per chunk.

All [., L, .] arrays have a dense last dimension; `A`, states and everything kept have the channels last.
"""

from typing import Any

import numpy as np

from dnamamba.kernels.numba_cpu.compiling import compiled
from dnamamba.kernels.numba_cpu.functions import sigmoid, softplus
from dnamamba.kernels.numba_cpu.vectors import LOG2_E, constant, load, store

from .numba_states import FEW_STATES, STATES, advance, advance2

ROWS = "float32[:,:,:]"


@compiled(
    f"void({ROWS}, {ROWS}, {ROWS}, {ROWS}, {ROWS}, float32[:,::1], float32[::1], float32[::1], "
    "uint8[:,::1], float32[:,:,::1], float32[:,:,::1], float32[:,:,:,::1], "
    "int64, boolean, boolean, int64, int64)"
)
def scan_forward(
    u: Any,
    dt: Any,
    z: Any,
    B: Any,
    C: Any,
    A: Any,
    D: Any,
    dt_bias: Any,
    starts: Any,
    state: Any,
    y: Any,
    kept: Any,
    chunk: Any,
    dt_softplus: Any,
    gated: Any,
    first: Any,
    last: Any,
) -> None:
    """Sweep over the items `first` to `last`, an item being 16 channels of a sequence.

    Args:
        A: [N, E].
        starts: [B, L], 1 where a sequence begins; or without rows.
        state: [B, N, E], replaced by the state after the last position.
        y: [B, L, E], written.
        kept: [B, chunks, N, E], the state before every `chunk` positions, written; may be empty.
    """
    _, length, channels = y.shape
    states = A.shape[0]
    tiles = channels // 16
    keep, packed = kept.shape[1] > 0, starts.shape[0] > 0
    zero, factor = constant(0.0), constant(LOG2_E if dt_softplus else 1.0)
    h, A_tile = np.empty(states * 16, np.float32), np.empty(states * 16, np.float32)
    deltas, drives, outs = (
        np.empty(chunk * 16, np.float32),
        np.empty(chunk * 16, np.float32),
        np.empty(chunk * 16, np.float32),
    )
    for item in range(first, last):
        b, e = item // tiles, item % tiles * 16
        for n in range(states):
            store(A_tile, n * 16, load(A, n * channels + e))
            store(h, n * 16, load(state, (b * states + n) * channels + e))
        skip, bias = load(D, e), load(dt_bias, e)
        for start in range(0, length, chunk):
            steps = min(chunk, length - start)
            if keep:
                at = (b * kept.shape[1] + start // chunk) * states
                for n in range(states):
                    store(kept, (at + n) * channels + e, load(h, n * 16))
            for i in range(steps):
                t = start + i
                delta = load(dt, ((b * dt.strides[0] + t * dt.strides[1]) >> 2) + e) + bias
                if dt_softplus:
                    delta = softplus(delta)
                now = load(u, ((b * u.strides[0] + t * u.strides[1]) >> 2) + e)
                store(deltas, i * 16, delta * factor)
                store(drives, i * 16, delta * now)
                store(outs, i * 16, skip * now)
            step_B, step_C = B.strides[1] >> 2, C.strides[1] >> 2
            at_B = (b * B.strides[0] + start * B.strides[1]) >> 2
            at_C = (b * C.strides[0] + start * C.strides[1]) >> 2
            begin = 0
            while begin < steps:  # up to the next sequence
                end = begin + 1
                if not packed:
                    end = steps
                elif starts[b, start + begin] != 0:
                    for n in range(states):
                        store(h, n * 16, zero)
                while end < steps and starts[b, start + end] == 0:
                    end += 1
                for n in range(0, states if dt_softplus else 0, STATES):
                    advance2(
                        h, A_tile, n * 16, deltas, drives, outs,
                        B, at_B + n, step_B, C, at_C + n, step_C, begin, end,
                    )  # fmt: skip
                for n in range(0, 0 if dt_softplus else states, FEW_STATES):
                    advance(
                        h, A_tile, n * 16, deltas, drives, outs,
                        B, at_B + n, step_B, C, at_C + n, step_C, begin, end,
                    )  # fmt: skip
                begin = end
            for i in range(steps):
                t = start + i
                out = load(outs, i * 16)
                if gated:
                    gate = load(z, ((b * z.strides[0] + t * z.strides[1]) >> 2) + e)
                    out = out * (gate * sigmoid(gate))
                store(y, (b * length + t) * channels + e, out)
        for n in range(states):
            store(state, (b * states + n) * channels + e, load(h, n * 16))
