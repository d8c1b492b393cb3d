"""Sweeps of the chunked scan along time: outputs, last states, and the state kept at every chunk.

Letters: R rows that advance side by side, T steps of a chunk, N states, E channels. Inside, the channels come
last, so that a row of B or C meets all of them in one vector operation.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from dnamamba.kernels.precision import SOFTPLUS_LINEAR_FROM

from .chunked_plan import Piece, Plan

aten = torch.ops.aten


class Parameters(NamedTuple):
    """What does not depend on time, in the dtype of the state."""

    A_NE: Tensor
    D: Tensor | None
    dt_bias: Tensor | None
    dt_softplus: bool


class Rows(NamedTuple):
    """What depends on time (or the gradients of it): views of [rows, steps, ...], in the caller's dtype."""

    u: Tensor
    dt: Tensor
    B: Tensor
    C: Tensor
    z: Tensor | None
    starts: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Rows":
        z = None if self.z is None else function(self.z)
        starts = None if self.starts is None else function(self.starts)
        return Rows(function(self.u), function(self.dt), function(self.B), function(self.C), z, starts)

    def of(self, piece: Piece) -> "Rows":
        """Return the rows of a piece: its sequences, or the segments of its sequence."""
        return self.map(lambda x: cut(x, piece))

    def during(self, steps: slice) -> "Rows":
        return self.map(lambda x: x[:, steps])


def cut(x: Tensor, piece: Piece) -> Tensor:
    """View the part of [B, L, ...] that a piece covers as [R, steps, ...]."""
    return x[piece.sequences, piece.steps].unflatten(1, (piece.segments, -1)).flatten(0, 1)


class Tile(NamedTuple):
    """A [R, T, N, E] buffer, and its [R, N, E] steps: views that are made once, as making them takes time."""

    whole: Tensor
    steps: tuple[Tensor, ...]


class Workspace:
    """Buffers for one chunk, allocated once a scan: every operation on a chunk writes into them."""

    def __init__(self, plan: Plan, A_NE: Tensor, *, tiles: int, vectors: int) -> None:
        self.chunk = plan.chunk
        self._states, self._channels = A_NE.shape
        size = plan.sequences * plan.segments * plan.chunk * self._channels
        self._tiles = [A_NE.new_empty(size * self._states) for _ in range(tiles)]
        self._vectors = [A_NE.new_empty(size) for _ in range(vectors)]
        self._views: dict[tuple[int, int], tuple[list[Tile], list[Tensor]]] = {}

    def chunks(self, length: int) -> list[slice]:
        return [slice(t, min(t + self.chunk, length)) for t in range(0, length, self.chunk)]

    def buffers(self, rows: int, steps: int) -> tuple[list[Tile], list[Tensor]]:
        """Return all tiles, and all contiguous [rows, steps, E] vectors."""
        if (rows, steps) not in self._views:
            size = rows * steps * self._channels
            tiles = [x[: size * self._states].view(rows, steps, self._states, -1) for x in self._tiles]
            self._views[rows, steps] = (
                [Tile(x, x.unbind(1)) for x in tiles],
                [x[:size].view(rows, steps, -1) for x in self._vectors],
            )
        return self._views[rows, steps]


def step_size(dt: Tensor, parameters: Parameters, before: Tensor, delta: Tensor) -> None:
    """Write dt + bias into `before` and the step size into `delta`; the two may be one buffer.

    Args:
        dt: [R, T, E].
        parameters: of the scan.
        before: [R, T, E], written: the input of softplus.
        delta: [R, T, E], written.
    """
    if parameters.dt_bias is None:
        before.copy_(dt)
    else:
        torch.add(dt, parameters.dt_bias, out=before)
    if parameters.dt_softplus:
        aten.softplus.out(before, 1, SOFTPLUS_LINEAR_FROM, out=delta)
    elif delta is not before:
        delta.copy_(before)


def decay_over(delta: Tensor, A_NE: Tensor, decay: Tensor) -> Tensor:
    """Write exp(delta A) into `decay` [..., N, E].

    Args:
        delta: [..., E].
        A_NE: [N, E].
        decay: [..., N, E], written and returned.
    """
    return torch.mul(delta.unsqueeze(-2), A_NE, out=decay).exp_()


def forget(decay: Tensor, starts: Tensor | None) -> Tensor:
    """Set the decay [R, T, N, E] of steps at which a sequence starts, uint8 [R, T], to 0; return it."""
    return decay if starts is None else decay.masked_fill_(starts[..., None, None] != 0, 0)


def over_all(delta: Tensor, A_NE: Tensor, starts: Tensor | None) -> Tensor:
    """Return the decay [R, N, E] over all steps, from the sums of their deltas [R, E].

    Args:
        delta: [R, E].
        A_NE: [N, E].
        starts: uint8 [R, steps]: of a row with one, nothing is left.
    """
    decay = decay_over(delta, A_NE, delta.new_empty(len(delta), *A_NE.shape))
    return decay if starts is None else decay.masked_fill_((starts != 0).any(1)[:, None, None], 0)


def outer(over_channels: Tensor, over_states: Tensor, out: Tensor) -> None:
    """Write the outer products of [R, T, E] and [R, T, N] into `out` [R, T, N, E].

    Args:
        over_channels: [R, T, E].
        over_states: [R, T, N].
        out: [R, T, N, E], written.
    """
    torch.mul(over_channels.unsqueeze(-2), over_states.unsqueeze(-1), out=out)


def sum_over_states(weights_RTN: Tensor, tile: Tensor, out: Tensor) -> None:
    """Write the sums over n of weights[n] tile[n, e] into `out` [R, T, E].

    Args:
        weights_RTN: [R, T, N].
        tile: [R, T, N, E].
        out: [R, T, E], written.
    """
    rows, steps, states, channels = tile.shape
    weights = weights_RTN.to(tile.dtype).reshape(rows * steps, 1, states)
    torch.bmm(weights, tile.view(-1, states, channels), out=out.view(-1, 1, channels))


def recur(states: Tile, decay: Tile, state: Tensor) -> Tensor:
    """Turn drives into states in place, h[t] = drive[t] + decay[t] h[t-1], and return the last of them.

    Args:
        state: [R, N, E], the state before the first step.
    """
    for drive, factor in zip(states.steps, decay.steps, strict=True):
        state = drive.addcmul_(factor, state)
    return state


def in_dtype_of(buffer: Tensor, x: Tensor) -> Tensor:
    """Return `x` [R, T, E] in the dtype of `buffer`: itself, or a copy in `buffer`."""
    return x if x.dtype == buffer.dtype else buffer.copy_(x)


def gate(z: Tensor, out: Tensor) -> Tensor:
    """Write silu(z) into `out`, both [R, T, E], computed in its dtype."""
    return aten.silu.out(in_dtype_of(out, z), out=out)


def advance(
    rows: Rows, parameters: Parameters, state: Tensor, workspace: Workspace, y: Tensor, kept: Tensor
) -> None:
    """Sweep over all steps.

    Args:
        y: [R, steps, E], written.
        state: [R, N, E], replaced by the state after the last step.
        kept: [chunks, R, N, E], the state before every chunk, written; empty when no backward pass will come.
    """
    for index, steps in enumerate(workspace.chunks(rows.u.shape[1])):
        if kept.numel():
            kept[index] = state
        u, dt, B, C, z, starts = rows.during(steps)
        (decay, states), (delta, drive, out) = workspace.buffers(*u.shape[:2])
        step_size(dt, parameters, delta, delta)
        forget(decay_over(delta, parameters.A_NE, decay.whole), starts)
        outer(torch.mul(delta, u, out=drive), B, states.whole)
        state.copy_(recur(states, decay, state))
        sum_over_states(C, states.whole, out)
        if parameters.D is not None:
            out.addcmul_(u, parameters.D)
        if z is not None:
            out.mul_(gate(z, delta))
        y[:, steps] = out


def summarise(rows: Rows, parameters: Parameters, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """Sweep from a zero state and return the last state and the decay over all steps, both [R, N, E].

    Args:
        rows: inputs of the segments, [R, steps, ...].
        parameters: of the scan.
        workspace: buffers for a chunk.
    """
    count, length, channels = rows.u.shape
    A_NE = parameters.A_NE
    last = A_NE.new_zeros(count, *A_NE.shape)
    total = A_NE.new_zeros(count, channels)
    for steps in workspace.chunks(length):
        u, dt, B, _, _, starts = rows.during(steps)
        (decay, states), (delta, drive, _) = workspace.buffers(*u.shape[:2])
        step_size(dt, parameters, delta, delta)
        total += delta.sum(1)
        forget(decay_over(delta, A_NE, decay.whole), starts)
        outer(torch.mul(delta, u, out=drive), B, states.whole)
        last.copy_(recur(states, decay, last))
    return last, over_all(total, A_NE, rows.starts)


def carry(state: Tensor, last: Tensor, whole: Tensor, order: Iterable[int]) -> Tensor:
    """Return the state [R, N, E] that enters every segment, the segments following each other in `order`.

    Args:
        state: [1, N, E], what enters the first of them; replaced by what leaves the last of them.
        last, whole: what `summarise` or its adjoint found.
    """
    entering = torch.empty_like(last)
    for segment in order:
        entering[segment] = state[0]
        torch.addcmul(last[segment], whole[segment], state[0], out=state[0])
    return entering


def forward_piece(
    rows: Rows, parameters: Parameters, state: Tensor, workspace: Workspace, y: Tensor, kept: Tensor
) -> None:
    """Sweep over a piece; `state` is [R, N, E] for sequences side by side, [1, N, E] for segments of one.

    Args:
        rows, parameters, workspace, y, kept: as in `advance`.
        state: the state before the piece; replaced by that after it.
    """
    count = rows.u.shape[0]
    if count == state.shape[0]:
        advance(rows, parameters, state, workspace, y, kept)
    else:
        entering = carry(state, *summarise(rows, parameters, workspace), range(count))
        advance(rows, parameters, entering, workspace, y, kept)
