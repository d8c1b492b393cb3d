"""The public fused block. It exists for the Triton backend; elsewhere a block is its parts."""

from typing import NamedTuple

import torch
from torch import Tensor

from dnamamba.kernels.ranks import Ranks


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
    ranks: Ranks | None = None,
) -> Block:
    """Compute x + mixer(rms_norm(x)); the backward recomputes everything but the scan's states.

    Between forward and backward it keeps `x` and one fp32 state of the scan every 64 positions. The backward
    runs the projections and the convolution again, not the scan.

    Args:
        x: [B, L, D], the residual stream.
        weights: the block's parameters.
        eps: of the norm.
        dtype: of the matrix products and of what flows between the parts; norm and residual keep x's.
        conv_state: [B, K-1, E], the inputs before the first position.
        ssm_state: [B, E, N], the state before the first position.
        ranks: processes that each hold an equal part of the sequence: then all states are those of the whole
            sequence, see `dnamamba.kernels.ranks`.

    Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023),
    arXiv 2312.00752, figure 3 and, for the recomputation, section 3.3.2.
    """
    from .triton_op import mamba_block_triton

    return mamba_block_triton(
        x, weights, eps=eps, dtype=dtype, conv_state=conv_state, ssm_state=ssm_state, ranks=ranks
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
) -> tuple[Tensor, Tensor]:
    """Return both states after the block, as `mamba_block` does, without its output and gradients.

    It has no gate, no second sweep of the scan and no output projection.

    Args:
        x, weights, eps, dtype, conv_state, ssm_state, ranks: as in `mamba_block`.
    """
    from .triton_op import block_after

    return block_after(
        x, weights, eps=eps, dtype=dtype, conv_state=conv_state, ssm_state=ssm_state, ranks=ranks
    )
