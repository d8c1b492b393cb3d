"""Launches of the Triton kernels of the scan: any sizes, strides, and dtypes up to fp32."""

import torch
from torch import Tensor

from dnamamba.kernels.launch import launch, power_of_two
from dnamamba.kernels.ranks import Ranks
from dnamamba.kernels.triton_math import fast_math

from .sweeps import Gradients, ScanInputs, States
from .triton_backward import backward_gradient as gradient_kernel
from .triton_backward import backward_summary as backward_kernel
from .triton_forward import carry as carry_kernel
from .triton_forward import forward_output as output_kernel
from .triton_forward import forward_summary as forward_kernel
from .triton_launch import SEGMENT, LaunchConfig
from .triton_ranks import across as across_kernel
from .triton_ranks import summary as summary_kernel
from .triton_sums import last_sums as sums_kernel

_SWEEP = {"STEPS": 2, "num_warps": 1, "num_stages": 1, "maxnreg": 64}
_GRADIENT = {"num_warps": 1, "num_stages": 1, "maxnreg": 128}
# Positions over which the gradient's p telescopes, for inputs in half and in full precision.
_WINDOWS = (SEGMENT, 4)
_CARRY_ROWS, _CARRY_COLUMNS = 128, 16
_SUM_BLOCK = 2048
_SUM_ROWS, _SUM_COLUMNS = 256, 32


def prepare(inputs: ScanInputs) -> ScanInputs:
    """Return `inputs` as these kernels read them: every last dimension dense, but A turned."""
    return inputs.arranged(prepare_rows, prepare_rows, prepare_states)


def prepare_rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def prepare_states(x: Tensor) -> Tensor:
    """Return [.., E, N], in memory [.., N, E], so that neighbouring lanes have neighbouring channels."""
    return x.transpose(-1, -2).contiguous().transpose(-1, -2)


def new_states(like: Tensor, batch: int, channels: int, states: int) -> Tensor:
    """Allocate [B, E, N] in the layout of `prepare_states`.

    Args:
        like: gives dtype and device.
        batch, channels, states: B, E and N.
    """
    return like.new_empty(batch, states, channels).transpose(-1, -2)


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
        forward_kernel, (u.shape[0] * cut.chunks * cut.tiles,),
        u, dt, A, B, dt_bias, starts, state.values, total, *_strides(u, dt, B),
        *u.shape, cut.tiles, cut.chunks, cut.long, cut.chunk, state.saved, state.slots,
        SEGMENT=SEGMENT, HAS_BIAS=dt_bias is not None, SOFTPLUS=softplus, **_flags(inputs, cut), **_SWEEP,
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
        output_kernel, (u.shape[0] * cut.chunks * cut.tiles,),
        u, dt, A, B, C, D, z, dt_bias, starts, first, state.values, y, last, *_strides(u, dt, B, C, z),
        *u.shape, cut.tiles, cut.chunks, cut.long, cut.chunk, state.saved, state.slots,
        HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=dt_bias is not None, HAS_FIRST=first is not None,
        SOFTPLUS=softplus, SINGLE=cut.chunks == 1, SAVE=save, SEGMENT=SEGMENT,
        **_flags(inputs, cut), **_SWEEP,
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
    u, dt, A, _, C, _, z, dt_bias, starts, softplus, _ = inputs
    launch(
        backward_kernel, (u.shape[0] * cut.chunks * cut.tiles,),
        dt, A, C, z, dt_bias, starts, dy, adjoint, total, *_strides(dt, C, z, dy),
        *u.shape[1:], cut.tiles, cut.chunks, cut.chunk,
        HAS_Z=z is not None, HAS_BIAS=dt_bias is not None, SOFTPLUS=softplus, **_flags(inputs, cut), **_SWEEP,
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
    batch, length, channels = u.shape
    window = _WINDOWS[u.dtype.itemsize >= 4]
    scratch = state.values.new_empty(
        cut.workers, SEGMENT + SEGMENT // window * (A.shape[1] + 1), cut.channels
    )
    launch(
        gradient_kernel, (cut.workers,),
        u, dt, A, B, C, D, z, dt_bias, starts, dy, state.values, out.dA, dlast, scratch,
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
    """Turn the drives in `state` into states, in place; `first` has the memory layout of A.

    Args:
        inputs: from `prepare`.
        total: [B, chunks, E], each chunk's sum of deltas.
        first: [B, E, N], the state before the sequence, or None.
        state: the drives on entry.
        cut: the chunks and tiles.
        reverse: from the last chunk to the first, for adjoints.
    """
    channels, states = inputs.A.shape
    rows = _rows(cut.chunks)
    launch(
        carry_kernel, (-(-channels * states // _CARRY_COLUMNS), total.shape[0]),
        inputs.A, total, first, state.values, *inputs.A.stride(),
        channels, cut.chunks, cut.long, state.saved, state.slots,
        N=states, COLS=_CARRY_COLUMNS, ROWS=rows, HAS_FIRST=first is not None, REVERSE=reverse,
        FAST=fast_math(inputs.u.dtype), num_warps=4, num_stages=1,
    )  # fmt: skip


def across(
    inputs: ScanInputs,
    total: Tensor,
    first: Tensor | None,
    state: States,
    cut: LaunchConfig,
    ranks: Ranks | None,
    *,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Return the states before this rank's part and after all parts, [B, E, N], from the drives in `state`.

    Without `ranks` there is one part.

    Args:
        inputs, total, state, cut, reverse: as in `carry`.
        first: [B, E, N], the state before all parts, or None.
        ranks: that hold the sequence.
    """
    channels, states = inputs.A.shape
    grid = (-(-channels * states // _CARRY_COLUMNS), total.shape[0])
    flags = {"N": states, "COLS": _CARRY_COLUMNS, "REVERSE": reverse, "FAST": fast_math(inputs.u.dtype)}
    part = total.new_empty(total.shape[0], 1 + states, channels)
    torch.sum(total, 1, out=part[:, 0])
    launch(
        summary_kernel, grid,
        inputs.A, total, state.values, part, *inputs.A.stride(),
        channels, cut.chunks, cut.long, state.saved, state.slots,
        ROWS=_rows(cut.chunks + 1), **flags, num_warps=4, num_stages=1,
    )  # fmt: skip
    parts = ranks.gather(part) if ranks else part.unsqueeze(0)
    before, after = total.new_empty(2, total.shape[0], channels, states)
    launch(
        across_kernel, grid,
        inputs.A, parts, None if first is None else first.contiguous(), before, after,
        *inputs.A.stride(), total.shape[0], channels, len(parts), ranks.rank if ranks else 0,
        HAS_FIRST=first is not None, **flags, num_warps=1,
    )  # fmt: skip
    return before, after


def last_sums(out: Gradients, dA: Tensor, dB: Tensor, dC: Tensor, dD: Tensor, dbias: Tensor) -> None:
    """Sum the groups' dB and dC, and the chunks' dA, dD and dbias; of what is empty, nothing.

    Args:
        out: the sums of each group and chunk.
        dA: [E, N] as [N, E] in memory, written.
        dB, dC: [B, L, N], written.
        dD, dbias: [E] or empty, written.
    """
    batch, chunks, states, channels = out.dA.shape
    size, tiles = dB.numel(), -(-channels // _SUM_COLUMNS)
    blocks = -(-size // _SUM_BLOCK)
    programs = 2 * blocks + -(-states * channels // _SUM_COLUMNS) + 2 * tiles
    launch(
        sums_kernel, (programs,),
        *out.dB_dC, out.dA, out.dD, out.dbias, dB, dC, dA, dD, dbias,
        size, blocks, out.dB_dC.shape[1], batch * chunks, channels,
        N=states, BLOCK=_SUM_BLOCK, ROWS=_SUM_ROWS, COLS=_SUM_COLUMNS,
        HAS_D=dD.numel() > 0, HAS_BIAS=dbias.numel() > 0, num_warps=8, num_stages=1,
    )  # fmt: skip


def _rows(number: int) -> int:
    """Return rows of a carry's scan that are read at a time."""
    return max(2, min(_CARRY_ROWS, power_of_two(number)))


def _flags(inputs: ScanInputs, cut: LaunchConfig) -> dict[str, object]:
    """Return what every kernel is compiled for."""
    return {
        "N": inputs.A.shape[1],
        "TILE": cut.channels,
        "FAST": fast_math(inputs.u.dtype),
        "EVEN": inputs.u.shape[1] % SEGMENT == 0,
        "TURN": inputs.turn,
        "HAS_STARTS": inputs.starts is not None,
    }


def _strides(*tensors: Tensor | None) -> tuple[int, ...]:
    """Return batch and position strides of each."""
    return tuple(s for x in tensors for s in ((0, 0) if x is None else (x.stride(0), x.stride(1))))
