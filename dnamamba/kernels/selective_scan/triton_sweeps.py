"""Launches of the Triton kernels of the scan: any sizes, strides, and dtypes up to fp32."""

import triton
from torch import Tensor

from dnamamba.kernels.launch import launch
from dnamamba.kernels.triton_math import fast_math

from .sweeps import Gradients, ScanInputs, States
from .triton_backward import backward_gradient as gradient_kernel
from .triton_backward import backward_summary as backward_kernel
from .triton_forward import carry as carry_kernel
from .triton_forward import forward_output as output_kernel
from .triton_forward import forward_summary as forward_kernel
from .triton_launch import SEGMENT, LaunchConfig
from .triton_sums import add_chunks as chunks_kernel
from .triton_sums import add_groups as groups_kernel

_SWEEP = {"STEPS": 2, "num_warps": 1, "num_stages": 1, "maxnreg": 64}
_GRADIENT = {"num_warps": 1, "num_stages": 1, "maxnreg": 128}
# Positions over which the gradient's p telescopes, for inputs in half and in full precision.
_WINDOWS = (SEGMENT, 4)
_CARRY_ROWS, _CARRY_COLUMNS = 256, 16
_SUM_BLOCK = 1024
_SUM_ROWS, _SUM_COLUMNS = 256, 32


def prepare(inputs: ScanInputs) -> ScanInputs:
    """`inputs` as these kernels read them: every last dimension dense."""
    return inputs.arranged(prepare_rows, prepare_rows)


def prepare_rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def forward_summary(inputs: ScanInputs, state: States, total: Tensor, cut: LaunchConfig) -> None:
    """Write every chunk's drive into `state` and its sum of deltas into `total`."""
    u, dt, A, B, _, _, _, dt_bias, softplus = inputs
    launch(
        forward_kernel, (u.shape[0] * cut.chunks * cut.tiles,),
        u, dt, A, B, dt_bias, state.values, total, *_strides(u, dt, B),
        *u.shape[1:], cut.tiles, cut.chunks, cut.chunk, state.saved, state.slots,
        SEGMENT=SEGMENT, HAS_BIAS=dt_bias is not None, SOFTPLUS=softplus, **_flags(inputs, cut), **_SWEEP,
    )  # fmt: skip


def forward_output(
    inputs: ScanInputs, first: Tensor | None, state: States, y: Tensor, last: Tensor, cut: LaunchConfig,
    save: bool,
) -> None:  # fmt: skip
    """Write `y`, the `last` state, and if `save` the states before every segment."""
    u, dt, A, B, C, D, z, dt_bias, softplus = inputs
    launch(
        output_kernel, (u.shape[0] * cut.chunks * cut.tiles,),
        u, dt, A, B, C, D, z, dt_bias, first, state.values, y, last, *_strides(u, dt, B, C, z),
        *u.shape[1:], cut.tiles, cut.chunks, cut.chunk, state.saved, state.slots,
        HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=dt_bias is not None, HAS_FIRST=first is not None,
        SOFTPLUS=softplus, SINGLE=cut.chunks == 1, SAVE=save, SEGMENT=SEGMENT,
        **_flags(inputs, cut), **_SWEEP,
    )  # fmt: skip


def backward_summary(
    inputs: ScanInputs, dy: Tensor, adjoint: Tensor, total: Tensor, cut: LaunchConfig
) -> None:
    """Write what every chunk alone hands back into `adjoint` and its sum of deltas into `total`."""
    u, dt, A, _, C, _, z, dt_bias, softplus = inputs
    launch(
        backward_kernel, (u.shape[0] * cut.chunks * cut.tiles,),
        dt, A, C, z, dt_bias, dy, adjoint, total, *_strides(dt, C, z, dy),
        *u.shape[1:], cut.tiles, cut.chunks, cut.chunk,
        HAS_Z=z is not None, HAS_BIAS=dt_bias is not None, SOFTPLUS=softplus, **_flags(inputs, cut), **_SWEEP,
    )  # fmt: skip


def backward_gradient(
    inputs: ScanInputs, dy: Tensor, dlast: Tensor | None, state: States, out: Gradients, cut: LaunchConfig
) -> None:
    """Write all of `out`."""
    u, dt, A, B, C, D, z, dt_bias, softplus = inputs
    batch, length, channels = u.shape
    window = _WINDOWS[u.dtype.itemsize >= 4]
    scratch = state.values.new_empty(cut.workers, SEGMENT + SEGMENT // window * (len(A) + 1), cut.channels)
    launch(
        gradient_kernel, (cut.workers,),
        u, dt, A, B, C, D, z, dt_bias, dy, state.values, out.dA, dlast, scratch,
        out.du, out.ddt, out.dA, *out.dB_dC, out.dD, out.dz, out.dbias, out.dfirst, out.y,
        *_strides(u, dt, B, C, z, dy),
        batch, length, channels, cut.tiles, cut.chunks, cut.chunk, state.saved, state.slots, cut.groups,
        HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=dt_bias is not None, HAS_LAST=dlast is not None,
        SOFTPLUS=softplus, SINGLE=cut.chunks == 1, SAVE_Y=out.y.numel() > 0,
        SEGMENT=SEGMENT, WINDOW=window, **_flags(inputs, cut), **_GRADIENT,
    )  # fmt: skip


def carry(
    inputs: ScanInputs,
    total: Tensor,
    first: Tensor | None,
    state: States,
    cut: LaunchConfig,
    *,
    reverse: bool,
) -> None:
    """Turn the drives in `state` into states, in place."""
    states, channels = inputs.A.shape
    rows = max(2, min(_CARRY_ROWS, triton.next_power_of_2(cut.chunks)))
    launch(
        carry_kernel, (triton.cdiv(channels * states, _CARRY_COLUMNS), total.shape[0]),
        inputs.A, total, first, state.values, channels, cut.chunks, state.saved, state.slots,
        N=states, COLS=_CARRY_COLUMNS, ROWS=rows, HAS_FIRST=first is not None, REVERSE=reverse,
        FAST=fast_math(inputs.u.dtype), num_warps=4, num_stages=1,
    )  # fmt: skip


def add_groups(parts: Tensor, dB: Tensor, dC: Tensor) -> None:
    """Sum the groups' dB and dC, `parts` [2, groups, B, L, N], into `dB` and `dC`."""
    size = dB.numel()
    launch(
        groups_kernel,
        (triton.cdiv(size, _SUM_BLOCK), 2),
        parts,
        dB,
        dC,
        size,
        parts.shape[1],
        BLOCK=_SUM_BLOCK,
        num_warps=4,
        num_stages=1,
    )


def add_chunks(out: Gradients, dA: Tensor, dD: Tensor, dbias: Tensor) -> None:
    """Sum the chunks' dA, dD and dbias; of what is empty, nothing."""
    batch, chunks, states, channels = out.dA.shape
    launch(
        chunks_kernel, (triton.cdiv(states * channels, _SUM_COLUMNS), 3),
        out.dA, out.dD, out.dbias, dA, dD, dbias, batch * chunks, channels,
        N=states, ROWS=_SUM_ROWS, COLS=_SUM_COLUMNS, HAS_D=dD.numel() > 0, HAS_BIAS=dbias.numel() > 0,
        num_warps=8, num_stages=1,
    )  # fmt: skip


def _flags(inputs: ScanInputs, cut: LaunchConfig) -> dict[str, object]:
    """What every kernel is compiled for."""
    return {
        "N": len(inputs.A),
        "TILE": cut.channels,
        "FAST": fast_math(inputs.u.dtype),
        "EVEN": inputs.u.shape[1] % SEGMENT == 0,
    }


def _strides(*tensors: Tensor | None) -> tuple[int, ...]:
    """Batch and position strides of each."""
    return tuple(s for x in tensors for s in ((0, 0) if x is None else (x.stride(0), x.stride(1))))
