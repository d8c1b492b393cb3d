"""What the chunked scan allocates and keeps: nothing of the size of [B, L, E, N]."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnamamba.kernels import selective_scan
from dnamamba.kernels.selective_scan.chunked_plan import FILL_CHUNK, plan

from .scan_inputs import scan_inputs


class LargestTensor(TorchDispatchMode):
    """Remember the largest storage that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                size = result.untyped_storage().nbytes() // result.element_size()
                self.elements = max(self.elements, size)
        return results


def test_nothing_as_large_as_all_states() -> None:
    B, L, E, N = 2, 4096, 48, 16
    inputs = {name: x.float().requires_grad_() for name, x in scan_inputs(B, L, E, N).items()}
    largest_tensor_allowed = max(FILL_CHUNK, B * L * E)
    assert largest_tensor_allowed < B * L * E * N / 4

    with LargestTensor() as seen:
        y, state = selective_scan(**inputs, dt_softplus=True, backend="chunked")
        torch.autograd.grad(y.sum() + state.sum(), list(inputs.values()))
    assert B * L * E <= seen.elements <= largest_tensor_allowed

    with torch.no_grad(), LargestTensor() as naive:
        torch.exp(inputs["dt"][..., None] * inputs["A"])
    assert naive.elements == B * L * E * N, "the measurement itself must be able to fail"


def test_kept_for_the_backward_pass() -> None:
    """The inputs, and one state a chunk."""
    B, L, E, N = 17, 1000, 32, 16
    inputs = {name: x.float().requires_grad_() for name, x in scan_inputs(B, L, E, N).items()}
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        y, _ = selective_scan(**inputs, dt_softplus=True, backend="chunked")
    addresses = {x.data_ptr() for x in inputs.values()}
    states = [x for x in kept if x.data_ptr() not in addresses]
    cut = plan(B, L, E, N)
    assert cut.segments == 1
    assert sum(x.numel() for x in states) == -(-L // cut.chunk) * B * E * N

    kept.clear()
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        selective_scan(**inputs, dt_softplus=True, backend="chunked")
    assert not kept
    assert y.requires_grad
