"""The Triton scan: what runs, and the same as custom operators for torch.compile."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba.kernels.eager import differentiable, operator, ranks_of, refuse_ranks, watched
from dnamamba.kernels.ranks import Ranks
from dnamamba.kernels.selective_scan import gluon_sweeps, triton_sweeps
from dnamamba.kernels.triton_math import SLOWEST

from .signature import Scan, ScanArguments
from .sweeps import Gradients, ScanInputs, States
from .triton_launch import SEGMENT, forward_config, held_states, launch_config


def selective_scan_triton(given: ScanArguments, ranks: Ranks | None = None) -> Scan:
    """See `selective_scan`. fp32, bf16 and fp16 in, states in fp32; N is at most 32.

    Between forward and backward it keeps, besides its inputs, one fp32 state every 64 positions.

    Raises:
        ValueError: `u` is fp64, or N is too large.
    """
    if given.u.dtype == torch.float64:
        raise ValueError(
            "backend 'triton' computes in fp32, but u is torch.float64; backend 'chunked' takes it"
        )
    *tensors, _ = given
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    if watched():
        refuse_ranks(ranks)
        y, last, _ = scan_forward_op(*given, save)
    else:
        compute: Callable[..., tuple[Tensor, ...]] = _differentiable_scan if save else scan_forward
        y, last, _ = compute(*given, save, ranks=ranks)
    return Scan(y, last)


def scan_forward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    starts: Tensor | None,
    dt_softplus: bool,
    save: bool,
    ranks: Ranks | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state, and (if `save`) the states before every segment.

    With `ranks`, the initial and the last state are those of the whole sequence.

    Args:
        u ... dt_softplus: as in `selective_scan`, [B, L, E] and so on.
        save: whether a backward will follow.
        ranks: that hold the sequence.
        reverse: whether it is read from its end, by one rank. States then count from there.
    """
    assert starts is None or (ranks is None and not reverse)
    assert not reverse or ranks is None
    states = A.shape[1]
    A, B, C, initial_state = _widened(A, B, C, initial_state)
    inputs = ScanInputs(
        u, dt, _forgetting(A, starts), B, C, _dense(D), z, _dense(dt_bias), starts, dt_softplus, reverse
    )
    sweeps = gluon_sweeps if gluon_sweeps.takes(inputs) else triton_sweeps
    inputs = sweeps.prepare(inputs)
    batch, length, channels = u.shape
    units = processors(u.device)
    cut = forward_config(launch_config(batch, length, channels, A.shape[1], units), batch, length, units)
    first = None if initial_state is None else sweeps.prepare_states(initial_state)

    y, saved_states = _forward_outputs(u, A.shape[1], save)
    last = sweeps.new_states(saved_states, batch, channels, A.shape[1])
    state = States(saved_states, saved_states.shape[1], cut.chunk // SEGMENT)
    if not save:
        needed = cut.chunks if cut.chunks > 1 or ranks else 0
        state = States(last.new_empty(batch, needed, A.shape[1], channels), cut.chunks, 1)
    after = last
    if cut.chunks > 1 or ranks:
        total = last.new_empty(batch, cut.chunks, channels)
        sweeps.forward_summary(inputs, state, total, cut)
        if ranks:
            before, after = triton_sweeps.across(
                inputs, total, initial_state, state, cut, ranks, reverse=False
            )
            first = sweeps.prepare_states(before)
        if cut.chunks > 1:
            triton_sweeps.carry(inputs, total, first, state, cut, reverse=False)
    sweeps.forward_output(inputs, first, state, y, last, cut, save)
    return y, after[..., :states].contiguous(), saved_states


def scan_after(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    dt_softplus: bool,
    ranks: Ranks | None = None,
) -> Tensor:
    """Compute the last state alone, [B, E, N]: summaries of chunks, and no second sweep for outputs.

    Args:
        u ... dt_softplus, ranks: as in `scan_forward`.
    """
    states = A.shape[1]
    A, B, _, initial_state = _widened(A, B, B, initial_state)
    # A state does not depend on C.
    inputs = ScanInputs(u, dt, A, B, B, None, None, _dense(dt_bias), None, dt_softplus, False)
    sweeps = gluon_sweeps if gluon_sweeps.takes(inputs) else triton_sweeps
    inputs = sweeps.prepare(inputs)
    batch, length, channels = u.shape
    units = processors(u.device)
    cut = forward_config(launch_config(batch, length, channels, A.shape[1], units), batch, length, units)
    drives = u.new_empty(batch, cut.chunks, A.shape[1], channels, dtype=torch.float32)
    state = States(drives, cut.chunks, 1)
    total = drives.new_empty(batch, cut.chunks, channels)
    sweeps.forward_summary(inputs, state, total, cut)
    after = triton_sweeps.across(inputs, total, initial_state, state, cut, ranks, reverse=False)[1]
    return after[..., :states]


scan_forward_op = operator("selective_scan_forward", scan_forward)


@scan_forward_op.register_fake
def _scan_forward_fake(u, dt, A, B, C, D, z, dt_bias, initial_state, starts, dt_softplus, save):  # type: ignore[no-untyped-def]
    y, saved_states = _forward_outputs(u, held_states(A.shape[1]), save)
    return y, saved_states.new_empty(u.shape[0], *A.shape), saved_states


def scan_backward(
    dy: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    starts: Tensor | None,
    saved_states: Tensor,
    dt_softplus: bool,
    save_y: bool,
    ranks: Ranks | None = None,
    reverse: bool = False,
) -> list[Tensor]:
    """Return gradients of u, dt, A, B, C, D, z, dt_bias and initial_state, then y again if `save_y`.

    What was not given, or not asked for, is an empty tensor. With `ranks`, `dlast` and the
    gradient of the initial state are those of the whole sequence.

    Args:
        dy: [B, L, E], the gradient of y.
        dlast: [B, E, N], the gradient of the last state, or None.
        u ... dt_softplus, ranks, reverse: as in `scan_forward`.
        saved_states: from `scan_forward`.
        save_y: whether y is wanted again.
    """
    assert starts is None or (ranks is None and not reverse)
    assert not reverse or ranks is None
    given = A.shape[1]
    A, B, C, initial_state = _widened(A, B, C, initial_state)
    dlast = None if dlast is None else F.pad(dlast, (0, A.shape[1] - given))
    inputs = ScanInputs(
        u, dt, _forgetting(A, starts), B, C, _dense(D), z, _dense(dt_bias), starts, dt_softplus, reverse
    )
    sweeps = gluon_sweeps if gluon_sweeps.takes(inputs) and dy.dtype == u.dtype else triton_sweeps
    inputs, dy = sweeps.prepare(inputs), sweeps.prepare_rows(dy)
    batch, length, channels = u.shape
    states = A.shape[1]
    cut = launch_config(batch, length, channels, states, processors(u.device))
    last = None if dlast is None else sweeps.prepare_states(dlast)

    memory = saved_states.new_empty
    out = Gradients(
        du=_dense_like(u, u),
        ddt=_dense_like(dt, u),
        dz=_dense_like(z, u),
        y=_dense_like(u if save_y else None, u),
        dA=memory(batch, cut.chunks, states, channels),
        dB_dC=memory(2, cut.groups, batch, length, states),
        dD=memory(_present(D, batch, cut.chunks, channels)),
        dbias=memory(_present(dt_bias, batch, cut.chunks, channels)),
        dfirst=memory(batch, states, channels),
    )
    dfirst = None
    if cut.chunks > 1 or ranks:
        # One buffer twice: q behind every chunk until a program has read it, then that chunk's share of dA.
        adjoint = States(out.dA, cut.chunks, 1)
        total = memory(batch, cut.chunks, channels)
        sweeps.backward_summary(inputs, dy, out.dA, total, cut)
        if ranks:
            behind, dfirst = triton_sweeps.across(inputs, total, dlast, adjoint, cut, ranks, reverse=True)
            last = sweeps.prepare_states(behind)
        if cut.chunks > 1:
            triton_sweeps.carry(inputs, total, last, adjoint, cut, reverse=True)
    state = States(saved_states, saved_states.shape[1], cut.chunk // SEGMENT)
    sweeps.backward_gradient(inputs, dy, last, state, out, cut)

    dA, dB, dC, dD, dbias = (_dense_like(x, u) for x in (A, B, C, D, dt_bias))
    triton_sweeps.last_sums(out, dA, dB, dC, dD, dbias)
    if initial_state is None:
        dfirst = _none(u)
    else:
        dfirst = out.dfirst.mT if dfirst is None else dfirst
        dfirst = dfirst[..., :given].to(initial_state.dtype).contiguous()
    dA, dB, dC = (gradient[..., :given].contiguous() for gradient in (dA, dB, dC))
    return [out.du, out.ddt, dA, dB, dC, dD, out.dz, dbias, dfirst, out.y]


scan_backward_op = operator("selective_scan_backward", scan_backward)


@scan_backward_op.register_fake
def _scan_backward_fake(  # type: ignore[no-untyped-def]
    dy, dlast, u, dt, A, B, C, D, z, dt_bias, initial_state, starts, saved_states, dt_softplus, save_y
):
    inputs = (u, dt, A, B, C, D, z, dt_bias, initial_state, u if save_y else None)
    return [_dense_like(x, u) for x in inputs]


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.dt_softplus, save = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])
    assert save, "selective_scan_forward was called to be differentiated without save=True"
    ctx.save_for_backward(*tensors, output[2])


def _backward(ctx, dy, dlast, _):  # type: ignore[no-untyped-def]
    *tensors, saved_states = ctx.saved_tensors
    if dy is None and dlast is None and ranks_of(ctx) is None:
        return (None,) * 12
    if dy is None:
        dy = torch.zeros_like(tensors[0])
    arguments = (dy, dlast, *tensors, saved_states, ctx.dt_softplus, False)
    gradients = scan_backward_op(*arguments) if watched() else scan_backward(*arguments, ranks_of(ctx))
    present = [g if x is not None else None for g, x in zip(gradients, tensors[:-1], strict=False)]
    return (*present, None, None, None)


scan_forward_op.register_autograd(_backward, setup_context=_setup_context)
_differentiable_scan = differentiable(scan_forward, _setup_context, _backward)


def _widened(
    A: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the same with the states of a kernel: nothing is written to a further one, nor read from it."""
    more = (0, held_states(A.shape[1]) - A.shape[1])
    if more[1] == 0:
        return A, B, C, initial_state
    first = None if initial_state is None else F.pad(initial_state, more)
    return F.pad(A, more, value=-1.0), F.pad(B, more), F.pad(C, more), first


def _forgetting(A: Tensor, starts: Tensor | None) -> Tensor:
    """Return A below zero, so that a step of size `FORGET` leaves nothing; that is 0 to the others' decay."""
    return A if starts is None else A.clamp(max=-SLOWEST)


@cache
def processors(device: torch.device) -> int:
    """Count the multiprocessors of `device`; 1 under the interpreter, where there are none."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _forward_outputs(u: Tensor, states: int, save: bool) -> tuple[Tensor, Tensor]:
    batch, length, channels = u.shape
    segments = -(-length // SEGMENT) if save else 0
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    return y, u.new_empty(batch, segments, states, channels, dtype=torch.float32)


def _dense(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _dense_like(x: Tensor | None, other: Tensor) -> Tensor:
    return _none(other) if x is None else torch.empty_like(x, memory_format=torch.contiguous_format)


def _none(like: Tensor) -> Tensor:
    return like.new_empty(0)


def _present(x: Tensor | None, *shape: int) -> tuple[int, ...]:
    return (0,) if x is None else shape
