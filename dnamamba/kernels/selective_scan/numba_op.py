"""The selective scan by compiled CPU kernels: what is kept, who works on what, gradients in their places."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnamamba.kernels.numba_cpu.layout import array, back, like, padded, rows_of
from dnamamba.kernels.numba_cpu.threads import share
from dnamamba.kernels.numba_cpu.vectors import LANES

from .numba_backward import scan_backward
from .numba_forward import scan_forward
from .signature import Scan, ScanArguments

# Positions for each kept state; the backward pass holds two buffers of [CHUNK, N, 16] a thread in the cache.
CHUNK = 64
# Sequences, or groups of the channels of fewer sequences, that the backward pass can work on side by side. A
# constant, so that the sums over channels are the same with any number of threads.
SIDE_BY_SIDE = 8


@torch.compiler.disable
def selective_scan_numba(given: ScanArguments) -> Scan:
    """See `selective_scan`. Once differentiable; keeps its inputs and one fp32 state every 64 positions."""
    return Scan(*_NumbaScan.apply(*given))


class _NumbaScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        u, dt, A, B, C, D, z, dt_bias, initial_state, starts, dt_softplus = ScanArguments(*given)
        batch, length, channels = u.shape
        E, N = padded(channels), padded(A.shape[1])
        state = u.new_zeros(batch, N, E, dtype=torch.float32)
        if initial_state is not None:
            state[:, : A.shape[1], :channels] = initial_state.mT
        y = like(u, E)
        chunks = -(-length // CHUNK) if any(ctx.needs_input_grad) else 0
        kept = state.new_empty(batch, chunks, N, E)
        inputs = _arrays(u, dt, A, B, C, D, z, dt_bias)
        arrays = [*inputs, rows_of(starts), state.numpy(), y.numpy(), kept.numpy()]

        def work(first: int, last: int) -> None:
            scan_forward(*arrays, CHUNK, dt_softplus, z is not None, first, last)

        share(batch * E // LANES, work)
        ctx.save_for_backward(u, dt, A, B, C, D, z, dt_bias, starts, kept)
        ctx.dt_softplus = dt_softplus
        ctx.initial_dtype = None if initial_state is None else initial_state.dtype
        return back(y, u), state[:, : A.shape[1], :channels].mT.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, d_state: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, A, B, C, D, z, dt_bias, starts, kept = ctx.saved_tensors
        batch, length, channels = u.shape
        states, (N, E) = A.shape[1], kept.shape[2:]
        groups = min(E // LANES, -(-SIDE_BY_SIDE // batch))
        adjoint = kept.new_zeros(batch, N, E)
        adjoint[:, :states, :channels] = d_state.mT
        du, ddt = like(u, E), like(u, E)
        dz = du[:0] if z is None else like(u, E)
        dB, dC = (kept.new_empty(groups, batch, length, N) for _ in range(2))
        dA = kept.new_empty(batch, N, E, dtype=torch.float64)
        dD, ddt_bias = (dA.new_empty(batch, E) for _ in range(2))
        *rows, A_NE, D_E, bias_E = _arrays(u, dt, A, B, C, D, z, dt_bias)
        written = [x.numpy() for x in (kept, adjoint, du, ddt, dz, dB, dC, dA, dD, ddt_bias)]
        arrays = [*rows, array(dy, E), A_NE, D_E, bias_E, rows_of(starts), *written]

        def work(first: int, last: int) -> None:
            scan_backward(*arrays, CHUNK, groups, ctx.dt_softplus, z is not None, first, last)

        share(batch * groups, work)
        return (
            back(du, u),
            back(ddt, dt),
            dA.sum(0)[:states, :channels].t().to(A.dtype),
            back(dB[0] if groups == 1 else dB.sum(0), B),
            back(dC[0] if groups == 1 else dC.sum(0), C),
            None if D is None else back(dD.sum(0), D),
            None if z is None else back(dz, z),
            None if dt_bias is None else back(ddt_bias.sum(0), dt_bias),
            None if ctx.initial_dtype is None else adjoint[:, :states, :channels].mT.to(ctx.initial_dtype),
            None,
            None,
        )


def _arrays(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
) -> list[Any]:
    """Return u, dt, z, B, C, A [N, E], D, bias of dt; u stands in for a missing z, 0 for the others."""
    E, N = padded(u.shape[2]), padded(A.shape[1])
    at_u = array(u, E)
    none = u.new_zeros(E, dtype=torch.float32).numpy()
    return [
        at_u,
        array(dt, E),
        at_u if z is None else array(z, E),
        array(B, N),
        array(C, N),
        array(A.t().contiguous(), N, E),
        none if D is None else array(D.contiguous(), E),
        none if dt_bias is None else array(dt_bias.contiguous(), E),
    ]
