"""The public block that reads both ways. It exists for the Triton backend; elsewhere a block is its parts."""

from typing import NamedTuple

import torch
from torch import Tensor


class DirectionWeights(NamedTuple):
    """What one direction has for itself; E inner channels, R the rank of dt, K taps, N states.

    Attributes:
        conv_weight, conv_bias: [E, K], [E].
        x_proj: [R + 2N, E]; rows of dt, B and C.
        dt_proj, dt_bias: [E, R], [E].
        A: [E, N], negative.
        D: [E].
    """

    conv_weight: Tensor
    conv_bias: Tensor
    x_proj: Tensor
    dt_proj: Tensor
    dt_bias: Tensor
    A: Tensor
    D: Tensor


class BidirectionalWeights(NamedTuple):
    """A block's parameters.

    Attributes:
        norm: [D].
        in_proj: [2E, D]; the first E rows make u, the others z.
        out_proj: [D, E].
        ahead, back: of the two directions.
    """

    norm: Tensor
    in_proj: Tensor
    out_proj: Tensor
    ahead: DirectionWeights
    back: DirectionWeights


def bidirectional_block(
    x: Tensor, weights: BidirectionalWeights, *, eps: float, dtype: torch.dtype
) -> Tensor:
    """Compute x + mixer(rms_norm(x)) as one operator, the mixer reading x from both ends.

    With u, z = in_proj(rms_norm(x)), and `scan` the convolution and the selective scan of one direction:

        y = x + out_proj((scan_ahead(u) + flip(scan_back(flip(u)))) * silu(z))

    Nothing is flipped in memory: the kernels count positions from the end. Between forward and backward it
    keeps `x` and, of both directions, one fp32 state of the scan every 64 positions: less than two causal
    blocks.

    Args:
        x: [B, L, D], the residual stream, on a device where the Triton kernels run.
        weights: the block's parameters.
        eps: of the norm.
        dtype: of the matrix products and of what flows between the parts; norm and residual keep x's.

    Returns:
        [B, L, D], in the dtype of `x`.

    Source: Schiff et al., "Caduceus: Bi-Directional Equivariant Long-Range DNA Sequence Modeling" (2024),
    arXiv 2403.03234, section 3.1.
    """
    from .triton_op import bidirectional_block_triton

    return bidirectional_block_triton(x, weights, eps=eps, dtype=dtype)
