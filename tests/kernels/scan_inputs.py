"""Inputs of a selective scan, and what a backend makes of them: outputs and all gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dnamamba.kernels import selective_scan

OPTIONAL = ("D", "z", "dt_bias", "initial_state")

Tensors = dict[str, Tensor]


def scan_inputs(
    B: int,
    L: int,
    E: int,
    N: int,
    *,
    optional: Iterable[str] = OPTIONAL,
    softplus: bool = True,
    seed: int = 0,
) -> Tensors:
    """Draw fp64 inputs that fp32 represents exactly. Without softplus, dt is positive as it stands."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = {"u": normal(B, L, E), "dt": normal(B, L, E), "B": normal(B, L, N), "C": normal(B, L, N)}
    inputs["A"] = -normal(E, N).exp()
    if not softplus:
        inputs["dt"] = (inputs["dt"] - 2).exp()
    for name in OPTIONAL:
        shape = {"D": (E,), "z": (B, L, E), "dt_bias": (E,), "initial_state": (B, E, N)}[name]
        value = normal(*shape)
        if name in optional:
            inputs[name] = value - 2 if name == "dt_bias" else value
    return {name: x.float().double() for name, x in inputs.items()}


def trained_inputs(B: int, L: int, E: int, N: int, seed: int = 0) -> Tensors:
    """Draw inputs as trained models make them: dt in 1e-4..10, A in -16..-1e-3, both log-uniform."""
    inputs = scan_inputs(B, L, E, N, optional=("D", "z", "initial_state"), softplus=False, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    for name, sign, low, high in (("dt", 1, 1e-4, 10.0), ("A", -1, 1e-3, 16.0)):
        fraction = torch.rand(inputs[name].shape, generator=generator, dtype=torch.float64)
        inputs[name] = (sign * low * (high / low) ** fraction).float().double()
    return inputs


def run_scan(
    inputs: Tensors, backend: str, *, dtype: torch.dtype = torch.float64, softplus: bool = True, seed: int = 7
) -> Tensors:
    """Return `y`, `state`, and the gradient `d<name>` of every input, under random weights of y and state.

    All inputs are cast to `dtype`, except that parameters and state never go below fp32, as in a model.
    """
    wide = dtype if dtype.itemsize >= 4 else torch.float32
    leaves = {
        name: x.to(wide if name in ("A", "D", "dt_bias", "initial_state") else dtype).requires_grad_()
        for name, x in inputs.items()
    }
    y, state = selective_scan(**leaves, dt_softplus=softplus, backend=backend)
    generator = torch.Generator().manual_seed(seed)
    loss = sum(
        (out.double() * torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.device)).sum()
        for out in (y, state)
    )
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {
        "y": y.detach(),
        "state": state.detach(),
        **{f"d{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)},
    }


def relative_error(value: Tensor, truth: Tensor) -> float:
    """|value - truth| / |truth|, in the Euclidean norm."""
    value, truth = value.detach().double(), truth.detach().double()
    return float((value - truth).norm() / truth.norm())


def errors(values: Tensors, truths: Tensors) -> dict[str, float]:
    assert values.keys() == truths.keys()
    return {name: relative_error(values[name], truths[name]) for name in truths}
