"""A CUDA graph's stand-in on a CPU: a tape of torch's operations, played again on the same tensors.

As of a graph, Python takes no part in a replay: what a closure held when the step was taped is what is read
again, and a result goes where it went. What a graph can't hold, a number that Python asks for, is refused.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Step = Callable[[], None]


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, _tensors(result)))
        return result

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)  # what it cast is on the tape
    def play(self) -> None:
        for func, args, kwargs, results in self.operations:
            for old, new in zip(results, _tensors(func(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [x for part in result for x in _tensors(part)] if isinstance(result, tuple | list) else []


class Taped:
    """Captures steps as tapes; counts captures and replays."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, steps: Sequence[Step]) -> list[Step]:
        self.captures += 1
        for step in steps:
            step()  # as a rehearsal
        return [self._taped(step) for step in steps]

    def _taped(self, step: Step) -> Step:
        with _Tape() as tape:
            step()

        def replay() -> None:
            self.replays += 1
            tape.play()

        return replay
