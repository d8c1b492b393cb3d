"""Sequences in one row compared with the same sequences one by one: outputs and all gradients."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
ALONG = ("u", "dt", "B", "C", "z", "x")  # what has a row of positions


def cumulative(lengths: Iterable[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int()


def gradients(inputs: Tensors, run: Callable[[Tensors], Tensor]) -> Tensors:
    """Return y and the gradient of every input, under random weights of y."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
    y = run(leaves)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = torch.autograd.grad((y.double() * weights.to(y.device)).sum(), list(leaves.values()))
    return {"y": y.detach(), **{f"d{name}": g for name, g in zip(leaves, found, strict=True)}}


def one_by_one(inputs: Tensors, cu_seqlens: Tensor, run: Callable[[Tensors], Tensor]) -> Tensors:
    """Return what `gradients` does of a `run` that reads one sequence, called for each of them."""

    def all_of_them(leaves: Tensors) -> Tensor:
        ends = cu_seqlens.tolist()
        return torch.cat(
            [
                run({name: x[:, a:b] if name in ALONG else x for name, x in leaves.items()})
                for a, b in pairwise(ends)
            ],
            1,
        )

    return gradients(inputs, all_of_them)


def assert_close(found: Tensors, truth: Tensors, tolerance: float) -> None:
    for name, value in truth.items():
        error = (found[name].double() - value.double()).norm() / value.double().norm()
        assert error < tolerance, (name, float(error))
