"""The selective scan in chunks of time: the CPU backend, and the Triton algorithm written in torch.

The recurrence is walked chunk by chunk, a whole chunk of decays and drives at a time, in a workspace whose
size does not depend on the length. What is kept for the backward pass besides the inputs is one state per
chunk; the backward pass rebuilds the states inside a chunk from it. [B, L, E, N] never exists.

Where the channels of the batch fill the machine, one pass over time is enough. Where they do not, a sequence
is cut into segments that advance side by side: a first sweep of every segment from a zero state leaves its
last state and its total step size, which carry the true state across the segments; a second sweep starts
from there. Forward and backward have the same three phases, the backward ones in reversed time.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnamamba.kernels.exact import rounded
from dnamamba.kernels.precision import state_dtype, without_autocast

from .chunked_backward import ParameterGradients, backward_piece
from .chunked_forward import Parameters, Rows, Workspace, cut, forward_piece
from .chunked_plan import pieces, plan
from .signature import Scan, ScanArguments


def selective_scan_chunked(given: ScanArguments) -> Scan:
    """See `selective_scan`. Once differentiable; memory grows linearly with the length."""
    return Scan(*_ChunkedScan.apply(*given))


class _ChunkedScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        u, dt, A, B, C, D, z, dt_bias, initial_state, starts, dt_softplus = ScanArguments(*given)
        batch, length, channels = u.shape
        ctx.plan = plan(batch, length, channels, A.shape[1])
        ctx.dt_softplus = dt_softplus
        parameters = _parameters(u, A, D, dt_bias, dt_softplus)
        state = parameters.A_NE.new_zeros(batch, *parameters.A_NE.shape)
        if initial_state is not None:
            state.copy_(initial_state.mT)
        y = u.new_empty(u.shape)
        inputs = Rows(u, dt, B, C, z, starts)
        workspace = Workspace(ctx.plan, parameters.A_NE, tiles=2, vectors=3)
        kept = []
        with without_autocast(u.device):
            for piece in pieces(ctx.plan, batch, length):
                rows = inputs.of(piece)
                chunks = len(workspace.chunks(rows.u.shape[1])) if any(ctx.needs_input_grad) else 0
                kept.append(state.new_empty(chunks, rows.u.shape[0], *parameters.A_NE.shape))
                forward_piece(rows, parameters, state[piece.sequences], workspace, cut(y, piece), kept[-1])
        ctx.save_for_backward(u, dt, A, B, C, D, z, dt_bias, starts, *kept)
        ctx.initial_dtype = None if initial_state is None else initial_state.dtype
        return y, state.mT.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, d_state: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, A, B, C, D, z, dt_bias, starts, *kept = ctx.saved_tensors
        batch, length, _ = u.shape
        parameters = _parameters(u, A, D, dt_bias, ctx.dt_softplus)
        adjoint = d_state.mT.clone(memory_format=torch.contiguous_format)
        inputs = Rows(u, dt, B, C, z, starts)
        gradients = inputs.map(lambda x: x.new_empty(x.shape))
        sums = ParameterGradients.zeros(parameters.A_NE)
        workspace = Workspace(ctx.plan, parameters.A_NE, tiles=3, vectors=6)
        with without_autocast(u.device):
            for piece, states in reversed(list(zip(pieces(ctx.plan, batch, length), kept, strict=True))):
                backward_piece(
                    inputs.of(piece),
                    cut(dy, piece),
                    parameters,
                    adjoint[piece.sequences],
                    workspace,
                    states,
                    gradients.of(piece),
                    sums,
                )
        return (
            gradients.u,
            gradients.dt,
            rounded(sums.A_NE.t(), A),
            gradients.B,
            gradients.C,
            None if D is None else rounded(sums.D, D),
            gradients.z,
            None if dt_bias is None else rounded(sums.dt_bias, dt_bias),
            None if ctx.initial_dtype is None else adjoint.mT.to(ctx.initial_dtype),
            None,
            None,
        )


def _parameters(
    u: Tensor, A: Tensor, D: Tensor | None, dt_bias: Tensor | None, dt_softplus: bool
) -> Parameters:
    dtype = state_dtype(u.dtype)
    return Parameters(
        A.to(dtype).t().contiguous(),
        None if D is None else D.to(dtype),
        None if dt_bias is None else dt_bias.to(dtype),
        dt_softplus,
    )
