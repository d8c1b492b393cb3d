"""The loss and the gradients of a whole micro-batch as one CUDA graph, for sequences that all have one shape.

Of short sequences a GPU computes a step in less time than a host needs to launch its kernels: of 32 sequences
of 300 bases the 1.4M model has some 700 launches. A graph, captured once for a shape, takes one.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dnamamba.objectives.base import Batch

from .chunk_graphs import Capture, CudaGraphs, Step, WithGradients
from .chunks import autocast_without_cache, go_back


class WholeGraphs:
    """Gradients of a loss sum by graphs: the same kernels on the same numbers as without.

    The autocast of the caller is captured too. A graph reads the parameters where they lie: they must not be
    moved between calls.

    Args:
        loss_sum: of a micro-batch, a scalar. It waits for nothing on the device, and no shape depends on
            values.
        parameters: that it has gradients for.
        capture: of functions without arguments, what does the same again at the same addresses; by default
            CUDA graphs.
    """

    def __init__(
        self,
        loss_sum: Callable[[Batch], Tensor],
        parameters: list[nn.Parameter],
        capture: Capture | None = None,
    ) -> None:
        self._loss_sum, self._parameters = loss_sum, parameters
        self._capture = capture or CudaGraphs()
        self._made: dict[tuple[torch.Size, ...], _Step] = {}

    def __call__(self, batch: Batch, targets: Tensor, backward: Callable[[Tensor], Any]) -> Tensor:
        """Add the gradients of the loss sum divided by `targets` to the parameters; return that, detached.

        Args:
            batch: tensors, on the device.
            targets: a scalar, on the device.
            backward: goes back from a scalar, without a scale of its own.
        """
        shapes = tuple(column.shape for column in batch.values())
        if shapes not in self._made:
            with autocast_without_cache():
                self._made[shapes] = _Step(batch, targets, self._loss_sum, self._parameters, self._capture)
        step = self._made[shapes]
        step.targets.copy_(targets)
        torch._foreach_copy_(list(step.batch.values()), list(batch.values()))
        step.replay()
        loss = step.loss.clone()
        go_back(backward, WithGradients.apply(loss, step.gradients, *self._parameters), [], [])
        return loss


class _Step:
    """A captured step, and the buffers that it takes everything from.

    Attributes:
        batch, targets: what it reads.
        loss: what it leaves, a scalar.
        gradients: of each parameter, likewise; None of one that the loss does not depend on.
        replay: does it.
    """

    def __init__(
        self,
        batch: Batch,
        targets: Tensor,
        loss_sum: Callable[[Batch], Tensor],
        parameters: list[nn.Parameter],
        capture: Capture,
    ) -> None:
        self.targets = targets.clone()
        self.batch = {name: column.clone() for name, column in batch.items()}
        self._loss_sum, self._parameters = loss_sum, parameters
        self.loss, self.gradients = (first := self._found())[0], list(first[1])
        self.replay: Step = capture([self._step])[0]

    def _found(self) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        with torch.enable_grad():
            loss = self._loss_sum(self.batch) / self.targets
        with torch.autocast(loss.device.type, enabled=False):
            found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        return loss.detach(), found

    def _step(self) -> None:
        loss, found = self._found()
        self.loss.copy_(loss)
        # The same ones every time: what a loss depends on does not depend on values.
        torch._foreach_copy_(_given(self.gradients), _given(found))


def _given(gradients: Iterable[Tensor | None]) -> list[Tensor]:
    return [one for one in gradients if one is not None]
