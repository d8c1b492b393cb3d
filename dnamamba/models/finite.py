"""Weights that are numbers: one NaN or infinity in them, and every answer is NaN or the first letter."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnamamba.errors import UserError

HIGHEST = 1e9
"""No trained weight is larger: products of three of these, squared by a norm, are infinite in float32."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def need_finite_weights(
    weights: Mapping[str, Any], source: str | Path, mend: str, highest: float = HIGHEST
) -> None:
    """Refuse weights that hold NaN, infinity or numbers above `highest`, or repeat few numbers as many.

    What is not a tensor of `FLOATS` is for others to refuse.

    Args:
        weights: by the names of the file.
        source: the file or folder, for the message.
        mend: what to do, for the message.
        highest: the largest magnitude that is allowed.

    Raises:
        UserError: naming the first such tensor.
    """
    for name, tensor in sorted(weights.items(), key=lambda pair: str(pair[0])):
        judged = isinstance(tensor, Tensor) and tensor.dtype in FLOATS and tensor.layout == torch.strided
        if judged and tensor.nbytes > tensor.untyped_storage().nbytes():
            # A few bytes of a file may stand for more numbers than there is memory.
            raise UserError(
                f"{source}: {name} has fewer numbers than its shape {list(tensor.shape)} takes: damaged, or "
                f"written by another program; {mend}"
            )
        if not judged or not tensor.numel():
            continue
        largest = max(abs(float(limit)) for limit in torch.aminmax(tensor))
        if not math.isfinite(largest):
            raise UserError(
                f"{source}: {name} is not finite (it holds NaN or infinity): the training diverged, or the "
                f"file is damaged; {mend}"
            )
        if largest > highest:
            raise UserError(
                f"{source}: {name} holds {largest:.2g}, and no trained weight is above {highest:g}: the "
                f"training diverged, or the file is damaged; {mend}"
            )
