"""How a family without a state reads its blocks."""

from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dnamamba.models.base import BackboneOutput


def through_blocks(backbone: Any, x: Tensor, blocks: int | None, *rest: Any) -> BackboneOutput:
    """Read embedded tokens by a backbone's `layers`, and after the last one by `norm_f`.

    Args:
        backbone: with `layers`, `norm_f` and `activation_checkpointing`.
        x: [B, L, D].
        blocks: read only the first so many; None: all.
        rest: what each layer takes besides.

    Returns:
        Hidden states [B, L, D], without a state.
    """
    recompute = backbone.activation_checkpointing and torch.is_grad_enabled()
    done = 0
    for layer in islice(backbone.layers, blocks):
        x = checkpoint(layer, x, *rest, use_reentrant=False) if recompute else layer(x, *rest)
        done += 1
    return BackboneOutput(backbone.norm_f(x) if done == len(backbone.layers) else x, None)
