"""The public selective scan: checks, then dispatch."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from dnamamba.kernels.backend import Backend, resolve
from dnamamba.kernels.checks import require_sequence, require_tensor
from dnamamba.kernels.packing import refuse_before, starts_of
from dnamamba.kernels.ranks import Ranks

from .signature import Scan, ScanArguments


def selective_scan(
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
    cu_seqlens: Tensor | None = None,
    starts: Tensor | None = None,
    ranks: Ranks | None = None,
    backend: str = "auto",
) -> Scan:
    """Run the selective state space model of Mamba over a batch of sequences.

    For every sequence, channel e and state n, with delta = dt + dt_bias, through softplus if `dt_softplus`:

        h[t] = exp(delta[t] A) h[t-1] + delta[t] B[t] u[t]
        y[t] = (sum over n of C[t] h[t] + D u[t]) * silu(z[t])

    A missing `D`, `z` or `dt_bias` leaves its term out; a missing `initial_state` is zero. Everything is
    differentiable, `initial_state` and the returned state included, so that a sequence equals its two
    halves with the state carried over, gradients too. The arithmetic is fp32, or fp64 when `u` is fp64,
    whatever autocast says.

    >>> import torch
    >>> from dnamamba import selective_scan
    >>> u, dt, B, C = (torch.rand(1, 6, size) for size in (4, 4, 2, 2))
    >>> A = -torch.rand(4, 2)
    >>> whole = selective_scan(u, dt, A, B, C)
    >>> first = selective_scan(u[:, :3], dt[:, :3], A, B[:, :3], C[:, :3])
    >>> rest = selective_scan(u[:, 3:], dt[:, 3:], A, B[:, 3:], C[:, 3:], initial_state=first.state)
    >>> torch.allclose(rest.y, whole.y[:, 3:], atol=1e-5)
    True

    Args:
        u: [B, L, E] input.
        dt: [B, L, E] step size, before bias and softplus.
        A: [E, N] diagonal of the state matrix; negative real numbers.
        B: [B, L, N] input projection.
        C: [B, L, N] output projection.
        D: [E] skip connection.
        z: [B, L, E] gate.
        dt_bias: [E] added to `dt`.
        dt_softplus: whether delta is softplus(dt + dt_bias).
        initial_state: [B, E, N] state before the first position.
        cu_seqlens: int32 [n + 1], the cumulative lengths of n sequences in one row (B = 1): the state is zero
            before each, and the returned one is that after the last.
        starts: uint8 [B, L], 1 where a sequence begins, instead, for callers of several operators and for
            rows that hold several sequences each.
        ranks: processes that each hold an equal part of the sequence: then both states are those of the whole
            sequence, see `dnamamba.kernels.ranks`.
        backend: "auto", "reference", "chunked", "numba" or "triton".

    Raises:
        ValueError: a tensor's shape, dtype or device does not go with the others, `backend` is unknown, or
            sequences in one row come with what stands before them.
        RuntimeError: `backend` is "triton" or "numba" where it can't run.

    Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023),
    arXiv 2312.00752, section 3.2 and algorithm 2.
    """
    batch, length, channels = require_sequence("u", u)
    if A.dim() != 2 or A.shape[0] != channels or A.shape[1] == 0:
        raise ValueError(f"A has shape {tuple(A.shape)}, expected ({channels}, N) for u {tuple(u.shape)}")
    states = A.shape[1]
    require_tensor("A", A, (channels, states), u, "u")
    require_tensor("dt", dt, u.shape, u, "u")
    require_tensor("B", B, (batch, length, states), u, "u")
    require_tensor("C", C, (batch, length, states), u, "u")
    if D is not None:
        require_tensor("D", D, (channels,), u, "u")
    if z is not None:
        require_tensor("z", z, u.shape, u, "u")
    if dt_bias is not None:
        require_tensor("dt_bias", dt_bias, (channels,), u, "u")
    if initial_state is not None:
        require_tensor("initial_state", initial_state, (batch, channels, states), u, "u")

    if cu_seqlens is not None:
        starts = starts_of(cu_seqlens, u)
    refuse_before(starts, initial_state=initial_state, ranks=ranks)
    scan = _implementation(resolve(backend, u.device, u.dtype), ranks)
    return scan(ScanArguments(u, dt, A, B, C, D, z, dt_bias, initial_state, starts, dt_softplus))


def _implementation(backend: Backend, ranks: Ranks | None) -> Callable[[ScanArguments], Scan]:
    if backend == "triton":
        from .triton_op import selective_scan_triton

        return partial(selective_scan_triton, ranks=ranks)
    if ranks is not None:
        from .spread import selective_scan_spread

        return partial(selective_scan_spread, _implementation(backend, None), ranks)
    if backend == "numba":
        from .numba_op import selective_scan_numba

        return selective_scan_numba
    if backend == "chunked":
        from .chunked import selective_scan_chunked

        return selective_scan_chunked
    from .reference import selective_scan_reference

    return selective_scan_reference
