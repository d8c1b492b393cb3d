"""torch's custom operators without its dispatcher, for eager mode.

torch.compile needs custom operators. Called outside it, they spend three times as long in Python as an
autograd.Function does (0.15 ms for 0.05 of a scan's forward, on one CPU), which is more than a short
sequence's kernels take on the GPU.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from dnamamba.kernels.ranks import Ranks

_LEFT_OUT = ("ranks", "reverse")


def watched() -> bool:
    """Return whether torch.compile, fake tensors, torch.func or a dispatch mode intercepts calls.

    Then they must be those of the operators, in the backward too.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def operator(name: str, function: Callable[..., Any]) -> Any:
    """Register `function` as a custom operator, without its last arguments `ranks` and `reverse`.

    Graphs hold no processes, and what reads in reverse is part of a larger operator.

    Args:
        name: of the operator in `dnamamba`.
        function: of tensors and numbers, with a type each.
    """

    @wraps(function)
    def on_one_rank(*inputs: Any) -> Any:
        return function(*inputs)

    signature = inspect.signature(function)
    inputs = [parameter for parameter in signature.parameters.values() if parameter.name not in _LEFT_OUT]
    on_one_rank.__signature__ = signature.replace(parameters=inputs)  # type: ignore[attr-defined]
    return torch.library.custom_op(f"dnamamba::{name}", on_one_rank, mutates_args=())


def refuse_ranks(ranks: Ranks | None) -> None:
    """Refuse what `operator` leaves out.

    Raises:
        ValueError: there are ranks.
    """
    if ranks is not None:
        raise ValueError("a sequence on several ranks can't be compiled: a graph holds no processes")


def ranks_of(ctx: Any) -> Ranks | None:
    """Return the ranks in the context of a `differentiable` function; those of an operator have none."""
    return getattr(ctx, "ranks", None)


def differentiable(
    forward: Callable[..., Any], setup_context: Callable[..., None], backward: Callable[..., Any]
) -> Callable[..., Any]:
    """Return `forward` with the backward of its custom operator, as `register_autograd` takes them.

    What it is given as `ranks` is in the context of both, and goes to `forward` if there are any.

    Args:
        forward: the operator's function.
        setup_context: keeps what the backward needs.
        backward: gradients of the inputs from those of the outputs.
    """

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, ranks: Ranks | None, *inputs: Any) -> Any:
            output = forward(*inputs) if ranks is None else forward(*inputs, ranks)
            setup_context(ctx, inputs, output)
            ctx.ranks = ranks
            return output

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *gradients: Any) -> Any:
            return None, *backward(ctx, *gradients)

    def compute(*inputs: Any, ranks: Ranks | None = None) -> Any:
        return Eager.apply(ranks, *inputs)

    return compute
