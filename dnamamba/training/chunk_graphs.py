"""`chunked_backward` for many small chunks on a GPU: both reads of a chunk as CUDA graphs.

A chunk of 2^16 bases keeps a GPU busy for less time than a host needs to launch its kernels. A graph of each
read, captured once for a shape, takes one launch. Everything that a graph touches lies at a fixed address:
tokens, targets, state, adjoint and the sums of the gradients are buffers that are filled before a replay.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .chunks import Targets, Term, autocast_without_cache, leaves_of, with_leaves


class ChunkGraphs:
    """The gradients of `chunked_backward`, by graphs of chunks of one shape. On a CPU the same, uncaptured.

    The autocast of the caller is captured too; parameters may change their values, not their addresses, so
    that neither FSDP nor a move to another device goes with it. Besides what `chunked_backward` asks of a
    model, a state of zeros is the beginning of a sequence.

    Args:
        model: not in a wrapper.
        tokens: [B, T], an example of a chunk, all of it real; T is the chunk's length.
        targets: an example of what `targets_of` gives for it.
        term_of: as in `chunked_backward`.
        parameters: those that get gradients from the chunks; None for the trainable ones of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        tokens: Tensor,
        targets: Tensor,
        term_of: Term,
        parameters: Iterable[nn.Parameter] | None = None,
    ) -> None:
        given = model.parameters() if parameters is None else parameters
        self._parameters = [parameter for parameter in given if parameter.requires_grad]
        self._model, self._term_of = model, term_of
        self._tokens, self._targets = tokens.clone(), targets.clone()
        with torch.no_grad(), autocast_without_cache():
            output, self._form = model(tokens, None)
            term = term_of(output, targets)
        self._state = [torch.zeros_like(leaf) for leaf in leaves_of(self._form)]
        self._adjoint = [torch.zeros_like(leaf) for leaf in self._state]
        self._sums = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._weight = torch.ones_like(term)
        self._total = torch.zeros_like(term, dtype=torch.float64)
        del output, term
        self._ahead: Callable[[], None] = self._read_ahead
        self._back: Callable[[], None] = self._read_back
        if tokens.is_cuda:
            with autocast_without_cache(), torch.cuda.device(tokens.device):
                self._ahead, self._back = _captured(self._read_ahead, self._read_back)

    def __call__(
        self,
        tokens: Tensor,
        targets_of: Targets,
        loss_of: Callable[[Tensor], Tensor] | None = None,
        *,
        backward: Callable[[Tensor], Any] = Tensor.backward,
    ) -> Tensor:
        """Add the gradients of a loss over [B, L] to the parameters; returns the loss, detached.

        Processes exchange gradients in the one call of `backward`, in which all parameters take part.

        Args:
            tokens: [B, L]; the last chunk is padded, not the first one shorter.
            targets_of: as in `chunked_backward`, but spans may reach beyond L, where nothing may count.
            loss_of, backward: as in `chunked_backward`, but a scale comes after all sums.
        """
        with autocast_without_cache():
            return self._step(tokens, targets_of, loss_of, backward)

    def _step(
        self,
        tokens: Tensor,
        targets_of: Targets,
        loss_of: Callable[[Tensor], Tensor] | None,
        backward: Callable[[Tensor], Any],
    ) -> Tensor:
        spans = self._spans(tokens.shape[1])
        kept = [leaf.new_empty(len(spans), *leaf.shape) for leaf in self._state]
        torch._foreach_zero_([*self._state, *self._adjoint, *self._sums, self._total])
        for number, span in enumerate(spans):
            torch._foreach_copy_([leaf[number] for leaf in kept], self._state)
            if loss_of is not None or number < len(spans) - 1:
                self._load(tokens, targets_of, span)
                self._ahead()
        loss = self._total
        if loss_of is None:
            self._weight.fill_(1)
        else:
            total = self._total.to(self._weight.dtype, copy=True).requires_grad_()
            with torch.enable_grad():
                loss = loss_of(total)
            with torch.autocast(total.device.type, enabled=False):
                self._weight.copy_(torch.autograd.grad(loss, total, retain_graph=True)[0])
        # Now it adds up what is read with gradients.
        self._total.zero_()
        for number, span in reversed(list(enumerate(spans))):
            torch._foreach_copy_(self._state, [leaf[number] for leaf in kept])
            self._load(tokens, targets_of, span)
            self._back()
        if loss_of is None:
            loss = self._total.to(self._weight.dtype)
        with torch.autocast(loss.device.type, enabled=False):
            backward(_WithGradients.apply(loss, self._sums, *self._parameters))
        return loss.detach().clone()

    def _spans(self, length: int) -> list[slice]:
        chunk = self._tokens.shape[1]
        return [slice(start, start + chunk) for start in range(0, length, chunk)]

    def _load(self, tokens: Tensor, targets_of: Targets, span: slice) -> None:
        real = tokens[:, span]
        self._tokens[:, : real.shape[1]] = real  # what was there before is as good as any padding
        self._targets.copy_(targets_of(span))

    @torch.no_grad()
    def _read_ahead(self) -> None:
        """Replace the state by that after the chunk; add its term to the total."""
        output, after = self._model(self._tokens, with_leaves(self._form, iter(self._state)))
        self._total.add_(self._term_of(output, self._targets))
        torch._foreach_copy_(self._state, leaves_of(after))

    def _read_back(self) -> None:
        """Replace the adjoint by that of the state before the chunk; add gradients to their sums."""
        before = [leaf.detach().requires_grad_() for leaf in self._state]
        with torch.enable_grad():
            output, after = self._model(self._tokens, with_leaves(self._form, iter(before)))
            term = self._term_of(output, self._targets)
        with torch.autocast(term.device.type, enabled=False):
            found = torch.autograd.grad(
                [term, *leaves_of(after)],
                [*self._parameters, *before],
                [self._weight, *self._adjoint],
                materialize_grads=True,
            )
        with torch.no_grad():
            torch._foreach_add_(self._sums, found[: len(self._sums)])
            torch._foreach_copy_(self._adjoint, found[len(self._sums) :])
            self._total.add_(term)


class _WithGradients(torch.autograd.Function):
    """A loss whose backward also gives the parameters their gradients, by way of every hook on them."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return scale, None, *(gradient * scale for gradient in ctx.gradients)


def _captured(*steps: Callable[[], None]) -> list[Callable[[], None]]:
    """The steps as graphs that share their memory: they must be replayed one after the other."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for step in (*steps, *steps):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    # What the rehearsal took would stay with the allocator in addition to what the graphs take.
    torch.cuda.empty_cache()
    pool = torch.cuda.graph_pool_handle()
    graphs = []
    for step in steps:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            step()
        graphs.append(graph)
    return [graph.replay for graph in graphs]
