"""The Triton scan as torch custom operators: eager, autograd and torch.compile all go through these two."""

from functools import cache

import torch
import triton
from torch import Tensor

from dnamamba.kernels.triton_math import fast_math

from .api import Scan
from .triton_backward import backward_gradient, backward_summary
from .triton_forward import carry, forward_output, forward_summary
from .triton_launch import SEGMENT, LaunchConfig, launch_config

_SWEEP = {"STEPS": 2, "num_warps": 1, "num_stages": 1, "maxnreg": 64}
_GRADIENT = {"num_warps": 1, "num_stages": 1, "maxnreg": 128}
# Positions over which the gradient's p telescopes, for inputs in half and in full precision.
_WINDOWS = (SEGMENT, 4)
_CARRY_ROWS, _CARRY_COLUMNS = 256, 16


def selective_scan_triton(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    initial_state: Tensor | None = None,
) -> Scan:
    """See `selective_scan`. fp32, bf16 and fp16 in, states in fp32; N is 4, 8, 16 or 32.

    Between forward and backward it keeps, besides its inputs, one fp32 state every 64 positions.

    Raises:
        ValueError: `u` is fp64, or N is not supported.
    """
    if u.dtype == torch.float64:
        raise ValueError(
            "backend 'triton' computes in fp32, but u is torch.float64; backend 'chunked' takes it"
        )
    inputs = (u, dt, A, B, C, D, z, dt_bias, initial_state)
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    y, last, _ = scan_forward(u, dt, A, B, C, D, z, dt_bias, initial_state, dt_softplus, save)
    return Scan(y, last)


@torch.library.custom_op("dnamamba::selective_scan_forward", mutates_args=())
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
    dt_softplus: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and (if `save`) the states before every segment."""
    batch, length, channels = u.shape
    states = A.shape[1]
    cut = launch_config(batch, length, channels, states, processors(u.device))
    u, dt, B, C, A = _rows(u), _rows(dt), _rows(B), _rows(C), _flip(A)
    z, D, dt_bias, initial_state = (
        None if x is None else prepare(x)
        for prepare, x in ((_rows, z), (_dense, D), (_dense, dt_bias), (_flip, initial_state))
    )

    y, last, saved_states = _forward_outputs(u, states, save)
    slots = cut.chunk // SEGMENT if save else 1
    saved = saved_states.shape[1] if save else cut.chunks
    single = cut.chunks == 1
    state = saved_states
    if not save and not single:
        state = saved_states.new_empty(batch, cut.chunks, states, channels)
    fast = fast_math(u.dtype)
    flags = {"N": states, "TILE": cut.channels, "FAST": fast}
    flags |= {"HAS_BIAS": dt_bias is not None, "SOFTPLUS": dt_softplus, "EVEN": length % SEGMENT == 0}
    grid = (batch * cut.chunks * cut.tiles,)
    if not single:
        total = last.new_empty(batch, cut.chunks, channels)
        forward_summary[grid](
            u, dt, A, B, dt_bias, state, total,
            u.stride(0), u.stride(1), dt.stride(0), dt.stride(1), B.stride(0), B.stride(1),
            length, channels, cut.tiles, cut.chunks, cut.chunk, saved, slots,
            SEGMENT=SEGMENT, **flags, **_SWEEP,
        )  # fmt: skip
        _carry(A, total, initial_state, state, cut, saved, slots, reverse=False, fast=fast)
    forward_output[grid](
        u, dt, A, B, C, D, z, dt_bias, initial_state, state, y, last,
        u.stride(0), u.stride(1), dt.stride(0), dt.stride(1), B.stride(0), B.stride(1),
        C.stride(0), C.stride(1), *_strides(z),
        length, channels, cut.tiles, cut.chunks, cut.chunk, saved, slots,
        HAS_D=D is not None, HAS_Z=z is not None, HAS_FIRST=initial_state is not None,
        SINGLE=single, SAVE=save, SEGMENT=SEGMENT, **flags, **_SWEEP,
    )  # fmt: skip
    return y, last.transpose(1, 2).contiguous(), saved_states


@scan_forward.register_fake
def _scan_forward_fake(u, dt, A, B, C, D, z, dt_bias, initial_state, dt_softplus, save):  # type: ignore[no-untyped-def]
    y, last, saved_states = _forward_outputs(u, A.shape[1], save)
    return y, last.transpose(1, 2).contiguous(), saved_states


@torch.library.custom_op("dnamamba::selective_scan_backward", mutates_args=())
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
    saved_states: Tensor,
    dt_softplus: bool,
    save_y: bool,
) -> list[Tensor]:
    """Gradients of u, dt, A, B, C, D, z, dt_bias and initial_state, then y again if `save_y`.

    What was not given, or not asked for, is an empty tensor.
    """
    batch, length, channels = u.shape
    states = A.shape[1]
    cut = launch_config(batch, length, channels, states, processors(u.device))
    u, dt, B, C, dy, A = _rows(u), _rows(dt), _rows(B), _rows(C), _rows(dy), _flip(A)
    z, D, dt_bias, dlast = (
        None if x is None else prepare(x)
        for prepare, x in ((_rows, z), (_dense, D), (_dense, dt_bias), (_flip, dlast))
    )
    single = cut.chunks == 1
    fast = fast_math(u.dtype)
    flags = {"N": states, "TILE": cut.channels, "FAST": fast}
    flags |= {"HAS_BIAS": dt_bias is not None, "HAS_Z": z is not None, "SOFTPLUS": dt_softplus}
    flags |= {"EVEN": length % SEGMENT == 0}

    # One buffer twice: q behind every chunk until a program has read it, then that chunk's share of dA.
    dA = saved_states.new_empty(batch, cut.chunks, states, channels)
    if not single:
        total = saved_states.new_empty(batch, cut.chunks, channels)
        backward_summary[(batch * cut.chunks * cut.tiles,)](
            dt, A, C, z, dt_bias, dy, dA, total,
            dt.stride(0), dt.stride(1), C.stride(0), C.stride(1), *_strides(z), dy.stride(0), dy.stride(1),
            length, channels, cut.tiles, cut.chunks, cut.chunk,
            **flags, **_SWEEP,
        )  # fmt: skip
        _carry(A, total, dlast, dA, cut, cut.chunks, 1, reverse=True, fast=fast)

    du, ddt, dz, y = (_dense_like(x, u) for x in (u, dt, z, u if save_y else None))
    dB = saved_states.new_empty(cut.groups, batch, length, states)
    dC = torch.empty_like(dB)
    dD, dbias = (saved_states.new_empty(_present(x, batch, cut.chunks, channels)) for x in (D, dt_bias))
    dfirst = saved_states.new_empty(batch, states, channels)
    window = _WINDOWS[u.dtype.itemsize >= 4]
    scratch = saved_states.new_empty(cut.workers, SEGMENT + SEGMENT // window * (states + 1), cut.channels)
    backward_gradient[(cut.workers,)](
        u, dt, A, B, C, D, z, dt_bias, dy, saved_states, dA, dlast, scratch,
        du, ddt, dA, dB, dC, dD, dz, dbias, dfirst, y,
        u.stride(0), u.stride(1), dt.stride(0), dt.stride(1), B.stride(0), B.stride(1),
        C.stride(0), C.stride(1), *_strides(z), dy.stride(0), dy.stride(1),
        batch, length, channels, cut.tiles, cut.chunks, cut.chunk,
        saved_states.shape[1], cut.chunk // SEGMENT, cut.groups,
        HAS_D=D is not None, HAS_LAST=dlast is not None, SINGLE=single, SAVE_Y=save_y,
        SEGMENT=SEGMENT, WINDOW=window, **flags, **_GRADIENT,
    )  # fmt: skip
    dfirst = (
        _none(u) if initial_state is None else dfirst.transpose(1, 2).to(initial_state.dtype).contiguous()
    )
    return [
        du, ddt, dA.sum((0, 1)).t().to(A.dtype).contiguous(), dB.sum(0).to(B.dtype), dC.sum(0).to(C.dtype),
        _none(u) if D is None else dD.sum((0, 1)).to(D.dtype), dz,
        _none(u) if dt_bias is None else dbias.sum((0, 1)).to(dt_bias.dtype), dfirst, y,
    ]  # fmt: skip


@scan_backward.register_fake
def _scan_backward_fake(  # type: ignore[no-untyped-def]
    dy, dlast, u, dt, A, B, C, D, z, dt_bias, initial_state, saved_states, dt_softplus, save_y
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
    if dy is None and dlast is None:
        return (None,) * 11
    if dy is None:
        dy = torch.zeros_like(tensors[0])
    gradients = scan_backward(dy, dlast, *tensors, saved_states, ctx.dt_softplus, False)
    present = [g if x is not None else None for g, x in zip(gradients, tensors, strict=False)]
    return (*present, None, None)


scan_forward.register_autograd(_backward, setup_context=_setup_context)


def _carry(
    A: Tensor, total: Tensor, first: Tensor | None, state: Tensor, cut: LaunchConfig, saved: int, slots: int,
    *, reverse: bool, fast: bool,
) -> None:  # fmt: skip
    states, channels = A.shape
    rows = max(2, min(_CARRY_ROWS, triton.next_power_of_2(cut.chunks)))
    carry[(triton.cdiv(channels * states, _CARRY_COLUMNS), total.shape[0])](
        A, total, first, state, channels, cut.chunks, saved, slots,
        N=states, COLS=_CARRY_COLUMNS, ROWS=rows, HAS_FIRST=first is not None, REVERSE=reverse,
        FAST=fast, num_warps=4, num_stages=1,
    )  # fmt: skip


@cache
def processors(device: torch.device) -> int:
    """Multiprocessors of `device`; one where there is none, under the interpreter."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _forward_outputs(u: Tensor, states: int, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    batch, length, channels = u.shape
    segments = -(-length // SEGMENT) if save else 0
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    last = u.new_empty(batch, states, channels, dtype=torch.float32)
    return y, last, last.new_empty(batch, segments, states, channels)


def _rows(x: Tensor) -> Tensor:
    """`x` with its last dimension dense, as the kernels read it."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _dense(x: Tensor) -> Tensor:
    return x.contiguous()


def _flip(x: Tensor) -> Tensor:
    """[.., E, N] as the kernels hold it: [.., N, E], neighbouring channels in neighbouring lanes."""
    return x.transpose(-1, -2).contiguous()


def _dense_like(x: Tensor | None, other: Tensor) -> Tensor:
    return _none(other) if x is None else torch.empty_like(x, memory_format=torch.contiguous_format)


def _none(like: Tensor) -> Tensor:
    return like.new_empty(0)


def _present(x: Tensor | None, *shape: int) -> tuple[int, ...]:
    return (0,) if x is None else shape


def _strides(x: Tensor | None) -> tuple[int, int]:
    return (0, 0) if x is None else (x.stride(0), x.stride(1))
