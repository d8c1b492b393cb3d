"""torch's custom operators without its dispatcher, for eager mode.

torch.compile needs custom operators. Called outside it, they spend three times as long in Python as an
autograd.Function does (0.15 ms for 0.05 of a scan's forward, on one CPU), which is more than a short
sequence's kernels take on the GPU.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable


def watched() -> bool:
    """Whether calls are looked at on their way: by torch.compile, fake tensors, torch.func, a dispatch mode.

    Then they must be those of the operators, in the backward too.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def differentiable(
    forward: Callable[..., Any], setup_context: Callable[..., None], backward: Callable[..., Any]
) -> Callable[..., Any]:
    """`forward` with the backward of its custom operator, as `register_autograd` takes them."""

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = forward(*inputs)
            setup_context(ctx, inputs, output)
            return output

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *gradients: Any) -> Any:
            return backward(ctx, *gradients)

    return Eager.apply
