"""The exponential of a parameter, on the thread that asks for it.

`torch.exp` of 128 numbers or more wakes torch's threads, which then spin for 5 to 10 ms on the cores that the
kernels' threads need: a fifth of a model's forward pass on two cores, with one such call per block.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .layout import copied


class _Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        with np.errstate(over="ignore"):  # infinity, as torch's
            y = torch.from_numpy(np.exp(copied(x)))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return dy * y


@torch.compiler.disable
def exp_alone(x: Tensor) -> Tensor:
    """Return exp(x) in float32, of any shape on the CPU. Once differentiable."""
    return _Exponential.apply(x)
