"""The weights of a model that may be spread over processes: taken whole, given back, saved once."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from dnamamba.checkpoint import save_weights


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor of any shape on the CPU; of a sharded one every process must ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().clone()


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return every weight by name, whole, on the CPU; of a sharded model every process must ask."""
    return {name: whole(tensor) for name, tensor in model.state_dict().items()}


@torch.no_grad()
def give_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights by name: the inverse of `weights_of`."""
    for name, tensor in model.state_dict().items():
        value = weights[name].to(tensor.device)
        if isinstance(tensor, DTensor):
            value = distribute_tensor(value, tensor.device_mesh, tensor.placements)
        tensor.copy_(value)


def save_trained(model: Any, folder: Path, first: bool) -> None:
    """Write the model of a run; `first` is whether this process is the one that writes.

    Args:
        model: the trained module.
        folder: of the run.
        first: whether this process writes.
    """
    weights = weights_of(model)
    if first:
        save_weights(model, weights, folder)
