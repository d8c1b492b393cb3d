"""Optimiser steps of a small model as replays of one CUDA graph: batch, loss, gradients, clipping, update.

A step of a model with two blocks keeps a GPU busy for a millisecond, and a host needs many times that to
launch its kernels one by one. `ChunkGraphs` captures the gradients of a chunk; this captures the optimiser's
step too, so that a step is one launch. All steps have batches of one shape. Parameters and the optimiser's
state must not be moved or loaded afterwards, and while it is made no loss of these parameters may be alive.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dnamamba.objectives.base import Batch
from dnamamba.training.chunk_graphs import Capture, CudaGraphs


class OptimizerGraph:
    """Takes up to K steps at a time, each on its part of a batch of batches.

    Args:
        model: on the device of the batches.
        optimizer: of its parameters, fused. Its learning rates become tensors, which the steps set.
        loss_of: the mean loss of a batch.
        batches: tensors [K, B, ...] of the shapes that will come, on the device.
        clip: largest norm of all gradients; None: no clipping.
        capture: of functions without arguments, what does the same again at the same addresses; by default
            CUDA graphs.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_of: Callable[[Batch], Tensor],
        batches: Batch,
        clip: float | None,
        capture: Capture | None = None,
    ) -> None:
        self._parameters: list[Tensor] = [one for one in model.parameters() if one.requires_grad]
        self._optimizer, self._loss_of, self._clip = optimizer, loss_of, clip
        self._batches = {name: tensor.clone() for name, tensor in batches.items()}
        first = next(iter(batches.values()))
        self.most = len(first)
        self._rates = torch.zeros(self.most, device=first.device)
        self._losses = torch.zeros(self.most, device=first.device)
        self._places = torch.arange(self.most, device=first.device)
        self._place = torch.zeros(1, dtype=torch.int64, device=first.device)
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), device=first.device)
            group["capturable"] = first.device.type == "cuda"
        weights = [parameter.detach().clone() for parameter in self._parameters]
        state = {key: tensor.clone() for key, tensor in self._state().items()}
        with warnings.catch_warnings():
            # Of a step outside a graph, which the rehearsal is.
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            (self._step,) = (capture or CudaGraphs())([self._one])
        # What the rehearsal changed.
        with torch.no_grad():
            torch._foreach_copy_(self._parameters, weights)
            for key, tensor in self._state().items():
                tensor.copy_(state.get(key, torch.zeros_like(tensor)))

    def __call__(self, batches: Batch, rates: Tensor) -> Tensor:
        """Take as many steps as there are batches; return their losses [k], on the device.

        Args:
            batches: tensors [k, B, ...], k at most K.
            rates: the learning rate of each step, [k].
        """
        steps = len(rates)
        for name, tensor in batches.items():
            self._batches[name][:steps].copy_(tensor, non_blocking=True)
        self._rates[:steps].copy_(rates)
        self._place.zero_()
        for _ in range(steps):
            self._step()
        return self._losses[:steps].clone()

    def _one(self) -> None:
        batch = {name: tensor.index_select(0, self._place)[0] for name, tensor in self._batches.items()}
        for group in self._optimizer.param_groups:
            group["lr"].copy_(self._rates.index_select(0, self._place)[0] * group.get("scale", 1.0))
        self._optimizer.zero_grad(set_to_none=True)  # a graph makes them anew at its own addresses
        loss = self._loss_of(batch)
        loss.backward()
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step()
        self._losses.copy_(torch.where(self._places == self._place, loss.detach().float(), self._losses))
        self._place.add_(1).remainder_(self.most)

    def _state(self) -> dict[tuple[int, str], Tensor]:
        """Return the optimiser's tensors by parameter and name."""
        return {
            (number, name): tensor
            for number, parameter in enumerate(self._parameters)
            for name, tensor in self._optimizer.state.get(parameter, {}).items()
            if isinstance(tensor, Tensor)
        }
