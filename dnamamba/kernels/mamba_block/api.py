"""The public fused block. It exists for the Triton and Numba backends; elsewhere a block is its parts."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from dnamamba.kernels.backend import Backend
from dnamamba.kernels.packing import refuse_before
from dnamamba.kernels.ranks import Ranks

_LANES = 16  # floats of a vector of the compiled CPU kernels


def is_fused(
    backend: Backend, sizes: Iterable[int], dtypes: Iterable[torch.dtype], ranks: Ranks | None
) -> bool:
    """Return whether `backend` has a fused block for these sizes and dtypes.

    Triton has one for all. Numba has one for a sequence in one process, in float32 and with sizes that fill
    its vectors.

    Args:
        backend: as `resolve` returns it.
        sizes: D, E and N.
        dtypes: of activations, products and weights.
        ranks: that hold the sequence.
    """
    if backend != "numba":
        return backend == "triton"
    whole = all(size % _LANES == 0 for size in sizes)
    return whole and ranks is None and all(dtype == torch.float32 for dtype in dtypes)


class BlockWeights(NamedTuple):
    """A block's parameters; E inner channels, R the rank of dt, K taps, N states.

    Attributes:
        norm: [D].
        in_proj: [2E, D]; the first E rows make u, the others z.
        conv_weight, conv_bias: [E, K], [E].
        x_proj: [R + 2N, E]; rows of dt, B and C.
        dt_proj, dt_bias: [E, R], [E].
        A: [E, N], negative.
        D: [E].
        out_proj: [D, E].
    """

    norm: Tensor
    in_proj: Tensor
    conv_weight: Tensor
    conv_bias: Tensor
    x_proj: Tensor
    dt_proj: Tensor
    dt_bias: Tensor
    A: Tensor
    D: Tensor
    out_proj: Tensor


class Block(NamedTuple):
    """What a block returns.

    Attributes:
        y: [B, L, D], in the dtype of `x`.
        conv_state: [B, K-1, E], the convolution's last inputs.
        ssm_state: [B, E, N], the scan's last state, fp32.
    """

    y: Tensor
    conv_state: Tensor
    ssm_state: Tensor


def mamba_block(
    x: Tensor,
    weights: BlockWeights,
    *,
    eps: float,
    dtype: torch.dtype,
    conv_state: Tensor | None = None,
    ssm_state: Tensor | None = None,
    starts: Tensor | None = None,
    ranks: Ranks | None = None,
    backend: Backend = "triton",
) -> Block:
    """Compute x + mixer(rms_norm(x)) as one operator.

    Between forward and backward Triton's keeps `x` and one fp32 state of the scan every 64 positions; the
    backward runs the projections and the convolution again, not the scan. Numba's keeps their results too.

    Args:
        x: [B, L, D], the residual stream.
        weights: the block's parameters.
        eps: of the norm.
        dtype: of the matrix products and of what flows between the parts; norm and residual keep x's.
        conv_state: [B, K-1, E], the inputs before the first position.
        ssm_state: [B, E, N], the state before the first position.
        starts: uint8 [B, L], 1 where a sequence begins, for rows that hold several, see
            `dnamamba.kernels.packing`; with neither states nor ranks.
        ranks: processes that each hold an equal part of the sequence: then all states are those of the whole
            sequence, see `dnamamba.kernels.ranks`.
        backend: "triton", or "numba" for what `is_fused` allows.

    Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023),
    arXiv 2312.00752, figure 3 and, for the recomputation, section 3.3.2.
    """
    refuse_before(starts, conv_state=conv_state, ssm_state=ssm_state, ranks=ranks)
    if backend == "numba":
        from .numba_op import mamba_block_numba

        return mamba_block_numba(
            x, weights, eps=eps, conv_state=conv_state, ssm_state=ssm_state, starts=starts
        )
    from .triton_op import mamba_block_triton

    return mamba_block_triton(
        x,
        weights,
        eps=eps,
        dtype=dtype,
        conv_state=conv_state,
        ssm_state=ssm_state,
        starts=starts,
        ranks=ranks,
    )


def mamba_block_after(
    x: Tensor,
    weights: BlockWeights,
    *,
    eps: float,
    dtype: torch.dtype,
    conv_state: Tensor | None = None,
    ssm_state: Tensor | None = None,
    ranks: Ranks | None = None,
    backend: Backend = "triton",
) -> tuple[Tensor, Tensor]:
    """Return both states after the block, as `mamba_block` does, without its output and gradients.

    It has no gate, no second sweep of the scan and no output projection.

    Args:
        x, weights, eps, dtype, conv_state, ssm_state, ranks, backend: as in `mamba_block`.
    """
    if backend == "numba":
        from .numba_op import block_after_numba

        return block_after_numba(x, weights, eps=eps, conv_state=conv_state, ssm_state=ssm_state)
    from .triton_op import block_after

    return block_after(
        x, weights, eps=eps, dtype=dtype, conv_state=conv_state, ssm_state=ssm_state, ranks=ranks
    )
