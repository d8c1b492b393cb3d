"""The adjoint of the chunked scan, walked back in time.

With g[t] the derivative of the loss with respect to h[t], as every later use of it counts:

    g[t] = C[t] dy[t] + a[t+1] g[t+1],  a[t] = exp(delta[t] A)

    d(delta[t] u[t]) = sum over n of B[t] g[t]          dB[t] = sum over e of delta[t] u[t] g[t]
    dC[t] = sum over e of h[t] dy[t]                    q[t] = g[t] a[t] h[t-1]
    d(delta[t]) also has sum over n of A q[t]           dA = sum over t of delta[t] q[t]

where dy is the gradient of the ungated sum. The states h of a chunk are rebuilt from the one kept before it.
Letters as in `chunked_forward`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dnamamba.kernels.exact import exact, exact_zeros
from dnamamba.kernels.precision import SOFTPLUS_LINEAR_FROM

from .chunked_forward import (
    Parameters,
    Rows,
    Tile,
    Workspace,
    aten,
    carry,
    decay_over,
    forget,
    gate,
    in_dtype_of,
    outer,
    over_all,
    recur,
    step_size,
    sum_over_states,
)


class ParameterGradients(NamedTuple):
    """Sums over batch and time, in fp64: a chromosome is tens of thousands of chunks."""

    A_NE: Tensor
    D: Tensor
    dt_bias: Tensor

    @classmethod
    def zeros(cls, A_NE: Tensor) -> "ParameterGradients":
        states, channels = A_NE.shape
        shapes = ((states, channels), (channels,), (channels,))
        return cls(*(exact_zeros(*shape, device=A_NE.device) for shape in shapes))


def sum_over_channels(weights_RTE: Tensor, tile: Tensor, out: Tensor) -> None:
    """Write the sums over e of weights[e] tile[n, e] into `out` [R, T, N], of any dtype.

    Args:
        weights_RTE: [R, T, E].
        tile: [R, T, N, E].
        out: [R, T, N], written.
    """
    rows, steps, states, channels = tile.shape
    sums = torch.bmm(weights_RTE.view(-1, 1, channels), tile.view(-1, states, channels).mT)
    out.copy_(sums.view(rows, steps, states))


def recur_back(adjoints: Tile, decay: Tile, adjoint: Tensor) -> None:
    """Turn C[t] dy[t] into g[t] in place.

    Args:
        adjoint: [R, N, E], what flows back into the last step from later ones; replaced by what flows back
            out of the first.
    """
    direct, factor = adjoints.steps, decay.steps
    g = direct[-1].add_(adjoint)
    for t in reversed(range(len(direct) - 1)):
        g = direct[t].addcmul_(factor[t + 1], g)
    torch.mul(factor[0], g, out=adjoint)


def d_ungated(dy: Tensor, z: Tensor | None, out: Tensor) -> None:
    """Write the gradient of the ungated sum into `out`.

    Args:
        dy: [R, T, E], the gradient of the gated output.
        z: [R, T, E], the gate, or None.
        out: [R, T, E], written.
    """
    if z is None:
        out.copy_(dy)
    else:
        gate(z, out).mul_(dy)


def walk_back(
    rows: Rows,
    dy: Tensor,
    parameters: Parameters,
    adjoint: Tensor,
    workspace: Workspace,
    kept: Tensor,
    gradients: Rows,
    sums: ParameterGradients,
) -> None:
    """Walk back over all steps, writing `gradients` and adding to `sums`.

    Args:
        dy: [R, steps, E].
        adjoint: [R, N, E], the derivative with respect to the state after the last step; replaced by that
            with respect to the state before the first.
        kept: [chunks, R, N, E] from `advance`.
    """
    A_NE, D = parameters.A_NE, parameters.D
    chunks = workspace.chunks(dy.shape[1])
    for steps, entering in zip(reversed(chunks), reversed(kept.unbind(0)), strict=True):
        part, grad, dy_part = rows.during(steps), gradients.during(steps), dy[:, steps]
        u, z = part.u, part.z
        (decay, states, adjoints), vectors = workspace.buffers(*u.shape[:2])
        before, delta, drive, d_sum, d_drive, d_delta = vectors

        step_size(part.dt, parameters, before, delta)
        forget(decay_over(delta, A_NE, decay.whole), part.starts)
        outer(torch.mul(delta, u, out=drive), part.B, states.whole)
        recur(states, decay, entering)

        if z is not None and grad.z is not None:
            sum_over_states(part.C, states.whole, d_sum)
            if D is not None:
                d_sum.addcmul_(u, D)
            d_sum.mul_(dy_part)
            aten.silu_backward.grad_input(d_sum, in_dtype_of(d_drive, z), grad_input=d_sum)
            grad.z.copy_(d_sum)
        d_ungated(dy_part, z, d_sum)
        sum_over_channels(d_sum, states.whole, grad.C)

        outer(d_sum, part.C, adjoints.whole)
        recur_back(adjoints, decay, adjoint)
        sum_over_states(part.B, adjoints.whole, d_drive)
        sum_over_channels(drive, adjoints.whole, grad.B)

        q = decay.whole.mul_(adjoints.whole)
        q[:, 0].mul_(entering)
        q[:, 1:].mul_(states.whole[:, :-1])
        torch.mul(q, A_NE, out=adjoints.whole)
        sum_over_states(torch.ones_like(part.B), adjoints.whole, d_delta)
        sums.A_NE.add_(exact(q.mul_(delta.unsqueeze(2)).sum((0, 1))))

        d_delta.addcmul_(d_drive, u)
        if parameters.dt_softplus:
            aten.softplus_backward.grad_input(d_delta, before, 1, SOFTPLUS_LINEAR_FROM, grad_input=d_delta)
        sums.dt_bias.add_(exact(d_delta.sum((0, 1))))
        grad.dt.copy_(d_delta)

        d_drive.mul_(delta)
        if D is not None:
            d_drive.addcmul_(d_sum, D)
            sums.D.add_(exact(d_sum.mul_(u).sum((0, 1))))
        grad.u.copy_(d_drive)


def summarise_back(
    rows: Rows, dy: Tensor, parameters: Parameters, workspace: Workspace
) -> tuple[Tensor, Tensor]:
    """Walk back from a zero adjoint: return that before the first step and the decay over all, [R, N, E].

    Args:
        rows: inputs of the segments, [R, steps, ...].
        dy: [R, steps, E].
        parameters: of the scan.
        workspace: buffers for a chunk.
    """
    A_NE = parameters.A_NE
    count, length, channels = dy.shape
    first = A_NE.new_zeros(count, *A_NE.shape)
    total = A_NE.new_zeros(count, channels)
    for steps in reversed(workspace.chunks(length)):
        part, dy_part = rows.during(steps), dy[:, steps]
        (decay, _, adjoints), (delta, d_sum, *_) = workspace.buffers(*dy_part.shape[:2])
        step_size(part.dt, parameters, delta, delta)
        total += delta.sum(1)
        forget(decay_over(delta, A_NE, decay.whole), part.starts)
        d_ungated(dy_part, part.z, d_sum)
        outer(d_sum, part.C, adjoints.whole)
        recur_back(adjoints, decay, first)
    return first, over_all(total, A_NE, rows.starts)


def backward_piece(
    rows: Rows,
    dy: Tensor,
    parameters: Parameters,
    adjoint: Tensor,
    workspace: Workspace,
    kept: Tensor,
    gradients: Rows,
    sums: ParameterGradients,
) -> None:
    """Walk back over a piece; `adjoint` is [R, N, E] for sequences side by side, [1, N, E] for segments.

    Args:
        rows, dy, parameters, workspace, kept, gradients, sums: as in `walk_back`.
        adjoint: the derivative with respect to the state after the piece; replaced by that before it.
    """
    count = dy.shape[0]
    if count == adjoint.shape[0]:
        leaving = adjoint
    else:
        leaving = carry(adjoint, *summarise_back(rows, dy, parameters, workspace), reversed(range(count)))
    walk_back(rows, dy, parameters, leaving, workspace, kept, gradients, sums)
