"""The selective scan of a sequence that is divided among several ranks.

What a part of a sequence does to the state that it receives is `decay h + drive`, with decay = exp(A total)
and total the sum of its deltas. So each rank reads its part from a zero state for these two, [B, E] and
[B, E, N]; all ranks get all of them; and each scans its part from the state that they make of those before
it. The adjoint of the state crosses in the same way, in reverse: what a part alone passes back is its drive.

    Source: the chunks of arXiv 2312.00752's parallel scan (Blelloch 1990, "Prefix sums and their
    applications"), with a rank in place of a chunk.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnamamba.kernels.precision import softplus, state_dtype, without_autocast
from dnamamba.kernels.ranks import Ranks

from .signature import Scan, ScanArguments


def carried(total: Tensor, drive: Tensor, A_NE: Tensor, first: Tensor | None, *, reverse: bool) -> Tensor:
    """Return the state after P parts of a sequence, [B, N, E].

    Args:
        total: [B, P, E], each part's sum of deltas.
        drive: [B, P, N, E], what it makes of a zero state.
        A_NE: [N, E].
        first: [B, N, E] before all of them; None is zero.
        reverse: the last part comes first, as in a backward.
    """
    ahead = F.pad(total if reverse else total.flip(1), (0, 0, 1, 0)).cumsum(1)
    since, whole = ahead[:, :-1], ahead[:, -1]
    since = since if reverse else since.flip(1)
    state = (torch.exp(since.unsqueeze(2) * A_NE) * drive).sum(1)
    return state if first is None else state + torch.exp(whole.unsqueeze(1) * A_NE) * first


def across(
    total: Tensor, drive: Tensor, A_NE: Tensor, first: Tensor | None, ranks: Ranks, *, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the state before this rank's part, and the state after all parts; both [B, N, E].

    Args:
        total: [B, E], the sum of this part's deltas.
        drive: [B, N, E], what it makes of a zero state.
        A_NE: [N, E].
        first: [B, N, E] before all parts; None is zero.
        ranks: that hold the sequence.
        reverse: the last rank comes first, as in a backward.
    """
    found = ranks.gather(torch.cat([total.unsqueeze(1), drive], dim=1)).transpose(0, 1)
    totals, drives = found[:, :, 0], found[:, :, 1:]
    mine = slice(ranks.rank + 1, None) if reverse else slice(ranks.rank)
    before = carried(totals[:, mine], drives[:, mine], A_NE, first, reverse=reverse)
    return before, carried(totals, drives, A_NE, first, reverse=reverse)


def selective_scan_spread(scan: Callable[[ScanArguments], Scan], ranks: Ranks, given: ScanArguments) -> Scan:
    """See `selective_scan`; by any backend's `scan`, which is run twice in each direction.

    For CPUs, and for the reference in float64: the GPU's backend has the sums of a part from sweeps that it
    makes anyway, see `triton_op.py`.
    """
    return Scan(*_Spread.apply(*given, scan, ranks))


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, ctx.dt_softplus, ctx.scan, ctx.ranks = inputs
        u, dt, A, _, _, _, _, dt_bias, initial_state, _ = tensors
        with without_autocast(u.device):
            total, A_NE = _total(dt, dt_bias, ctx.dt_softplus, state_dtype(u.dtype)), _turned(A, u)
            drive = _scan(ctx, tensors[:-2], None).state.mT
            first = None if initial_state is None else initial_state.mT.to(drive.dtype)
            before, after = across(total, drive, A_NE, first, ctx.ranks)
            before = before.mT.contiguous()
            y = _scan(ctx, tensors[:-2], before).y
        ctx.save_for_backward(*tensors[:-1], before, total)
        return y, after.mT.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dstate: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, before, total = ctx.saved_tensors
        leaves = [None if x is None else x.detach().requires_grad_() for x in tensors[:-1]]
        before = before.detach().requires_grad_()
        with without_autocast(before.device):
            with torch.enable_grad():
                y, last = _scan(ctx, leaves, before)
            (drive,) = torch.autograd.grad(y, before, dy, retain_graph=True)
            behind, dfirst = across(
                total, drive.mT, _turned(tensors[2], y), dstate.mT.to(drive.dtype), ctx.ranks, reverse=True
            )
            present = [x for x in leaves if x is not None]
            found = iter(torch.autograd.grad((y, last), present, (dy, behind.mT)))
        gradients = [None if x is None else next(found) for x in leaves]
        first = tensors[-1]
        return (*gradients, None if first is None else dfirst.mT.to(first.dtype), None, None, None, None)


def _scan(ctx: Any, tensors: list[Any], before: Tensor | None) -> Scan:
    u, dt, A, B, C, D, z, dt_bias = tensors
    return ctx.scan(ScanArguments(u, dt, A, B, C, D, z, dt_bias, before, None, ctx.dt_softplus))


def _total(dt: Tensor, dt_bias: Tensor | None, dt_softplus: bool, dtype: torch.dtype) -> Tensor:
    delta = dt.to(dtype) if dt_bias is None else dt.to(dtype) + dt_bias.to(dtype)
    return (softplus(delta) if dt_softplus else delta).sum(1)


def _turned(A: Tensor, u: Tensor) -> Tensor:
    return A.to(state_dtype(u.dtype)).t()
