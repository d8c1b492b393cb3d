"""A function of tensors in eager mode and compiled, gradients and all."""

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def assert_compiled_equals_eager(function: Callable[[Tensors], Tensor], inputs: Tensors) -> None:
    """In one graph, bit for bit, under a loss that is not linear."""
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    found = []
    for run in (function, compiled):
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
        out = run(leaves)
        found.append((out, *torch.autograd.grad(out.sin().sum(), list(leaves.values()))))
    for eager, traced in zip(*found, strict=True):
        assert torch.equal(eager, traced)
