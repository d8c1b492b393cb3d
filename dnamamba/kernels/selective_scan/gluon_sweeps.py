"""Launches of the Gluon kernels of the scan: half precision, N = 16, whole tiles and blocks; NVIDIA GPUs."""

from functools import cache

import torch
import triton
from torch import Tensor

from dnamamba.kernels.launch import launch

from .gluon_backward import backward_gradient as gradient_kernel
from .gluon_backward import backward_summary as backward_kernel
from .gluon_forward import forward_output as output_kernel
from .gluon_forward import forward_summary as forward_kernel
from .sweeps import Gradients, ScanInputs, States
from .triton_launch import SEGMENT, LaunchConfig

STATES, CHANNELS, POSITIONS = 16, 32, 8
# 72 registers let 28 programs run on a multiprocessor at once, 168 let 12: three on each of its schedulers,
# without spills. With 144 two schedulers have four and two have three; with 128, four each, but spills.
_SWEEP = {"ROWS": POSITIONS, "num_warps": 1, "maxnreg": 72}
_GRADIENT = {"num_warps": 1, "maxnreg": 168}
_ALIGNMENT, _UNIT = 16, 8  # bytes of an address; elements of a stride of B and C


def takes(inputs: ScanInputs) -> bool:
    """Return whether these kernels compute this scan, by device, dtypes and sizes, not by strides."""
    return runs_on(inputs.u.device) and fits(inputs)


def fits(inputs: ScanInputs) -> bool:
    """Return whether dtypes and sizes are those of these kernels."""
    _, length, channels = inputs.u.shape
    along = (inputs.dt, inputs.B, inputs.C, inputs.u if inputs.z is None else inputs.z)
    return (
        inputs.u.dtype in (torch.bfloat16, torch.float16)
        and all(x.dtype == inputs.u.dtype for x in along)
        and inputs.A.shape[1] == STATES
        and channels % CHANNELS == 0
        and length % POSITIONS == 0
    )


@cache
def runs_on(device: torch.device) -> bool:
    """Return whether `device` is an NVIDIA GPU with asynchronous copies and TF32 (Ampere or later)."""
    return (
        device.type == "cuda"
        and torch.version.hip is None
        and not triton.knobs.runtime.interpret
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def prepare(inputs: ScanInputs) -> ScanInputs:
    """Return `inputs` as these kernels read them: rows dense, addresses and strides of copies aligned."""
    return inputs.arranged(prepare_rows, _aligned, prepare_states)


def prepare_rows(x: Tensor) -> Tensor:
    if x.is_contiguous() and x.data_ptr() % _ALIGNMENT == 0:
        return x
    return x.clone(memory_format=torch.contiguous_format)


def prepare_states(x: Tensor) -> Tensor:
    """Return [.., E, N], dense: a lane has a channel's states in its registers."""
    return x.contiguous()


def new_states(like: Tensor, batch: int, channels: int, states: int) -> Tensor:
    """Allocate [B, E, N] in the layout of `prepare_states`.

    Args:
        like: gives dtype and device.
        batch, channels, states: B, E and N.
    """
    return like.new_empty(batch, channels, states)


def forward_summary(inputs: ScanInputs, state: States, total: Tensor, cut: LaunchConfig) -> None:
    """Write every chunk's drive into `state` and its sum of deltas into `total`.

    Args:
        inputs: from `prepare`.
        state: written, [B, saved, N, E].
        total: [B, chunks, E], written.
        cut: the chunks and tiles.
    """
    u, dt, A, B, _, _, _, dt_bias, starts, softplus, _ = inputs
    launch(
        forward_kernel, (len(u) * cut.chunks * cut.tiles,),
        u, dt, A, B, dt_bias, _blocks(starts, torch.int64), state.values, total, *_strides(B),
        *u.shape[:2], cut.tiles, cut.chunks, cut.long, cut.chunk, state.saved, state.slots,
        SEGMENT=SEGMENT, HAS_BIAS=dt_bias is not None, HAS_STARTS=starts is not None,
        SOFTPLUS=softplus, TURN=inputs.turn, **_SWEEP,
    )  # fmt: skip


def forward_output(
    inputs: ScanInputs, first: Tensor | None, state: States, y: Tensor, last: Tensor, cut: LaunchConfig,
    save: bool,
) -> None:  # fmt: skip
    """Write `y`, the `last` state, and if `save` the states before every segment.

    Args:
        inputs: from `prepare`.
        first: [B, E, N], the state before the sequence, or None.
        state: the state before every chunk; those before segments are written if `save`.
        y: [B, L, E], written.
        last: [B, E, N], written.
        cut: the chunks and tiles.
        save: whether a backward will follow.
    """
    u, dt, A, B, C, D, z, dt_bias, starts, softplus, _ = inputs
    launch(
        output_kernel, (len(u) * cut.chunks * cut.tiles,),
        u, dt, A, B, C, D, z, dt_bias, _blocks(starts, torch.int64), first, state.values, y, last,
        *_strides(B, C),
        *u.shape[:2], cut.tiles, cut.chunks, cut.long, cut.chunk, state.saved, state.slots,
        HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=dt_bias is not None, HAS_FIRST=first is not None,
        HAS_STARTS=starts is not None, SOFTPLUS=softplus, SINGLE=cut.chunks == 1, SAVE=save, SEGMENT=SEGMENT,
        TURN=inputs.turn, **_SWEEP,
    )  # fmt: skip


def backward_summary(
    inputs: ScanInputs, dy: Tensor, adjoint: Tensor, total: Tensor, cut: LaunchConfig
) -> None:
    """Write the adjoint that every chunk alone passes back into `adjoint`, its sum of deltas into `total`.

    Args:
        inputs: from `prepare`.
        dy: [B, L, E], the gradient of y.
        adjoint: [B, chunks, N, E], written.
        total: [B, chunks, E], written.
        cut: the chunks and tiles.
    """
    _, dt, A, _, C, _, z, dt_bias, starts, softplus, _ = inputs
    launch(
        backward_kernel, (len(dt) * cut.chunks * cut.tiles,),
        dt, A, C, z, dt_bias, _blocks(starts, torch.int64), dy, adjoint, total, *_strides(C),
        dt.shape[1], cut.tiles, cut.chunks, cut.chunk,
        HAS_Z=z is not None, HAS_BIAS=dt_bias is not None, HAS_STARTS=starts is not None,
        SOFTPLUS=softplus, TURN=inputs.turn, **_SWEEP,
    )  # fmt: skip


def backward_gradient(
    inputs: ScanInputs, dy: Tensor, dlast: Tensor | None, state: States, out: Gradients, cut: LaunchConfig
) -> None:
    """Write all of `out`.

    Args:
        inputs: from `prepare`.
        dy: [B, L, E], the gradient of y.
        dlast: [B, E, N], the gradient of the last state, or None.
        state: the states before every segment.
        out: written.
        cut: the chunks and tiles.
    """
    u, dt, A, B, C, D, z, dt_bias, starts, softplus, _ = inputs
    launch(
        gradient_kernel, (len(u) * cut.chunks * cut.groups,),
        u, dt, A, B, C, D, z, dt_bias, _blocks(starts, torch.int32), dy, state.values, out.dA, dlast,
        out.du, out.ddt, out.dA, *out.dB_dC, out.dD, out.dz, out.dbias, out.dfirst, out.y,
        *_strides(B, C), *u.shape[:2], cut.tiles, cut.chunks, cut.chunk, state.saved, state.slots, cut.groups,
        HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=dt_bias is not None, HAS_LAST=dlast is not None,
        HAS_STARTS=starts is not None, SOFTPLUS=softplus, SINGLE=cut.chunks == 1, SAVE_Y=out.y.numel() > 0,
        SEGMENT=SEGMENT,
        TURN=inputs.turn, **_GRADIENT,
    )  # fmt: skip


def _aligned(x: Tensor) -> Tensor:
    """Return B or C as the kernels copy and count it: within a sequence in 32 bits."""
    strides = [x.stride(d) for d in (0, 1)]
    even = x.stride(-1) == 1 and x.data_ptr() % _ALIGNMENT == 0 and not any(s % _UNIT for s in strides)
    if even and x.shape[1] * x.stride(1) < 2**31:
        return x
    return x.clone(memory_format=torch.contiguous_format)


def _blocks(starts: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return starts [B, L] as the kernels read them: the bytes of a block of positions as one number."""
    return None if starts is None else starts.view(dtype)


def _strides(*tensors: Tensor) -> tuple[int, ...]:
    """Return the batch and position strides of each, in the elements that the kernels count."""
    return tuple(x.stride(d) // _UNIT for x in tensors for d in (0, 1))
