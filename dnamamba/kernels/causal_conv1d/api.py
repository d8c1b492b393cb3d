"""The public causal convolution: checks, then dispatch."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

from dnamamba.kernels.backend import Backend, resolve
from dnamamba.kernels.checks import require_sequence, require_tensor
from dnamamba.kernels.packing import refuse_before, starts_of
from dnamamba.kernels.ranks import Ranks, RowsBefore


class Convolution(NamedTuple):
    """What a causal convolution returns.

    Attributes:
        y: [B, L, E], in the dtype of `x`.
        state: [B, K-1, E], the last K-1 inputs, in the dtype of `x`: the next call's `initial_state`.
    """

    y: Tensor
    state: Tensor


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    starts: Tensor | None = None,
    ranks: Ranks | None = None,
    backend: str = "auto",
) -> Convolution:
    """Convolve every channel with its own short filter that looks only backward.

    With the K-1 rows of `initial_state` standing before x[0] (zeros if it is missing):

        y[t] = activation(bias + sum over k in 0..K-1 of weight[:, k] * x[t - (K-1) + k])

    Everything is differentiable, `initial_state` and the returned state included, so that a sequence equals
    its two halves with the state carried over. The arithmetic is fp32, or fp64 when `x` is fp64, whatever
    autocast says.

    >>> import torch
    >>> from dnamamba import causal_conv1d
    >>> x = torch.tensor([[[1.0], [2.0], [3.0]]])
    >>> causal_conv1d(x, torch.tensor([[10.0, 1.0]])).y.flatten().tolist()
    [1.0, 12.0, 23.0]

    Args:
        x: [B, L, E] input.
        weight: [E, K] filters; the last column meets the current position.
        bias: [E].
        activation: "silu" or none.
        initial_state: [B, K-1, E] inputs before the first position.
        cu_seqlens: int32 [n + 1], the cumulative lengths of n sequences in one row (B = 1): zeros are before
            each.
        starts: uint8 [B, L], 1 where a sequence begins, instead, for callers of several operators and for
            rows that hold several sequences each.
        ranks: processes that each hold an equal part of the sequence: then both states are those of the whole
            sequence, see `dnamamba.kernels.ranks`.
        backend: "auto", "reference", "chunked", "numba" or "triton".

    Raises:
        ValueError: a tensor's shape, dtype or device does not go with the others, or `activation` or
            `backend` is unknown, or there are sequences in one row and what stands before it.
        RuntimeError: `backend` is "triton" or "numba" where it can't run.

    Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023),
    arXiv 2312.00752, section 3.4.
    """
    batch, length, channels = require_sequence("x", x)
    if weight.dim() != 2 or weight.shape[0] != channels or weight.shape[1] == 0:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, expected ({channels}, K) for x {tuple(x.shape)}"
        )
    require_tensor("weight", weight, weight.shape, x, "x")
    if bias is not None:
        require_tensor("bias", bias, (channels,), x, "x")
    if initial_state is not None:
        require_tensor("initial_state", initial_state, (batch, weight.shape[1] - 1, channels), x, "x")
    if activation not in ("silu", None):
        raise ValueError(f"unknown activation {activation!r}; choose 'silu' or None")

    if cu_seqlens is not None:
        starts = starts_of(cu_seqlens, x)
    refuse_before(starts, initial_state=initial_state, ranks=ranks)
    convolve = _implementation(resolve(backend, x.device, x.dtype))
    kept = weight.shape[1] - 1
    if ranks is None or not kept:
        return convolve(x, weight, bias, activation=activation, initial_state=initial_state, starts=starts)
    before, last = RowsBefore.apply(x[:, -min(kept, length) :], initial_state, kept, ranks)
    return Convolution(convolve(x, weight, bias, activation=activation, initial_state=before).y, last)


def _implementation(backend: Backend) -> Callable[..., Convolution]:
    if backend == "triton":
        from .triton_op import causal_conv1d_triton

        return causal_conv1d_triton
    if backend == "numba":
        from .numba_op import causal_conv1d_numba

        return causal_conv1d_numba
    if backend == "chunked":
        from .chunked import causal_conv1d_chunked

        return causal_conv1d_chunked
    from .reference import causal_conv1d_reference

    return causal_conv1d_reference
