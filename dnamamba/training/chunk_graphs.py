"""`chunked_backward` for many small chunks on a GPU: both reads of a chunk as CUDA graphs.

A chunk of 2^16 bases keeps a GPU busy for less time than a host needs to launch its kernels. A graph of each
read, captured once for a shape, takes one launch. Everything that a graph touches lies at a fixed address:
tokens, targets, state, adjoint and the sums of the gradients are buffers that are filled before a replay.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dnamamba.kernels.exact import exact, rounded
from dnamamba.objectives.base import Chunks

from .chunks import (
    Reading,
    autocast_without_cache,
    chunked_backward,
    go_back,
    leaves_of,
    loss_and_weight,
    spans_of,
    with_leaves,
)

Step = Callable[[], None]
Capture = Callable[[Sequence[Step]], list[Step]]


class ChunkGraphs:
    """The exact gradients of `chunked_backward`, by graphs of its chunks: the same chunks, in the same order.

    The short chunk that a sequence may begin with is read without a graph, and so is a sequence that is
    shorter than a chunk. The autocast of the caller is captured too. Besides what `chunked_backward` asks of
    a model, it is `Backbone.capturable`, and the objective that makes the chunks `Objective.capturable`.

    Args:
        chunk: positions at a time.
        capture: of functions without arguments, what does the same again at the same addresses; by default
            CUDA graphs.
    """

    def __init__(self, chunk: int, capture: Capture | None = None) -> None:
        self.chunk = chunk
        self._capture = capture or CudaGraphs()
        self._made: dict[int, _Reads] = {}
        self._addresses: list[int] = []

    def __call__(
        self,
        chunks: Chunks,
        *,
        backward: Callable[[Tensor], Any] = Tensor.backward,
        no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Tensor:
        """Add the gradients of a loss to the parameters, as `chunked_backward` does.

        Args:
            chunks: the loss, of sequences [B, L]; graphs are captured for the first of each B.
            backward, no_sync: as in `chunked_backward`. Before all else, one is taken back through `backward`
                to find its scale.

        Returns:
            The loss, detached.
        """
        model, tokens, targets_of, term_of, loss_of, after = chunks
        if tokens.shape[1] < self.chunk:
            return chunked_backward(
                model, tokens, self.chunk, targets_of, term_of, loss_of, backward=backward, no_sync=no_sync
            )
        with autocast_without_cache():
            return self._step(Reading(model, tokens, targets_of, term_of, after), loss_of, backward, no_sync)

    def _step(
        self,
        reading: Reading,
        loss_of: Callable[[Tensor], Tensor] | None,
        backward: Callable[[Tensor], Any],
        no_sync: Callable[[], AbstractContextManager[Any]],
    ) -> Tensor:
        length, pooled = reading.tokens.shape[1], loss_of is not None
        spans = spans_of(length, self.chunk)
        short = [spans.pop(0)] if length % self.chunk else []
        reads = self._reads(reading, spans[0], pooled)
        reads.begin()
        total: Any = 0
        if short:
            states, total = reading.borders(short, terms=pooled)
            torch._foreach_copy_(reads.state, leaves_of(states[1]))
        kept = [leaf.new_empty(len(spans), *leaf.shape) for leaf in reads.state]
        for number, span in enumerate(spans):
            torch._foreach_copy_([leaf[number] for leaf in kept], reads.state)
            if pooled or number < len(spans) - 1:
                reads.load(reading, span)
                reads.ahead()
        with no_sync():
            weight = _scale(backward, reads.weight)
        loss: Any = 0
        if loss_of is not None:
            loss, of_term = loss_and_weight(loss_of, rounded(total + reads.total, reads.weight))
            weight = of_term * weight
        reads.weight.copy_(weight)
        reads.total.zero_()  # now it adds up what is read with gradients
        for number, span in reversed(list(enumerate(spans))):
            torch._foreach_copy_(reads.state, [leaf[number] for leaf in kept])
            reads.load(reading, span)
            reads.back()
        # Processes exchange gradients in the last backward alone; the loss of a sum has its part in that.
        total = 0 + reads.total
        none = torch.zeros_like(weight[(0,) * weight.dim()])
        with no_sync() if short else nullcontext():
            back = loss if pooled and not short else none
            go_back(backward, _WithGradients.apply(back, reads.sums, *reads.parameters), [], [])
        if short:
            first = reading.chunk(short[0], None, adjoint=False)
            total = total + exact(first.term.detach())
            back = (first.term * of_term).sum() + loss if pooled else first.term
            go_back(backward, back, first.after, list(reads.adjoint))
        return loss.detach() if pooled else rounded(total, reads.weight)

    def _reads(self, reading: Reading, span: slice, pooled: bool) -> "_Reads":
        """Return the graphs for as many sequences, captured if they are the first."""
        parameters = [parameter for parameter in reading.model.parameters() if parameter.requires_grad]
        addresses = [parameter.data_ptr() for parameter in parameters]
        if addresses != self._addresses:
            # Something has moved the model, or has changed what is trained.
            self._made, self._addresses = {}, addresses
        rows = len(reading.tokens)
        if rows not in self._made:
            self._made[rows] = _Reads(reading, span, parameters, pooled, self._capture)
        return self._made[rows]


class _Reads:
    """Both reads of a chunk [B, T], and the buffers that they take everything from.

    Attributes:
        state: the tensors of the state before the chunk; `ahead` replaces them by those after it.
        adjoint: of the state after the chunk; `back` replaces it by that of the state before it.
        sums: of each parameter's gradients.
        weight: the derivative of what is gone back from with respect to a chunk's term, in its shape.
        total: of the terms, in float64.
    """

    def __init__(
        self,
        reading: Reading,
        span: slice,
        parameters: list[nn.Parameter],
        pooled: bool,
        capture: Capture,
    ) -> None:
        self.parameters, self._pooled = parameters, pooled
        self._model, self._term_of, self._after = reading.model, reading.term_of, reading.after
        self._tokens = reading.tokens[:, span].clone(memory_format=torch.contiguous_format)
        self._targets = reading.targets_of(span).clone(memory_format=torch.contiguous_format)
        with torch.no_grad():
            output, self._form = self._model(self._tokens, None)
            term = self._term_of(output, self._targets)
        self.state = [torch.zeros_like(leaf) for leaf in leaves_of(self._form)]
        self.adjoint = [torch.zeros_like(leaf) for leaf in self.state]
        self.sums = [torch.zeros_like(parameter) for parameter in parameters]
        self.weight = torch.ones_like(term)
        self.total = torch.zeros_like(exact(term))
        del output, term
        self.ahead, self.back = capture([self._read_ahead, self._read_back])

    def begin(self) -> None:
        """Make all buffers zero: the beginning of a sequence, and nothing behind it."""
        torch._foreach_zero_([*self.state, *self.adjoint, *self.sums, self.total])

    def load(self, reading: Reading, span: slice) -> None:
        """Fill in what is read at a span."""
        self._tokens.copy_(reading.tokens[:, span])
        self._targets.copy_(reading.targets_of(span))

    @torch.no_grad()
    def _read_ahead(self) -> None:
        before = with_leaves(self._form, iter(self.state))
        if self._pooled or self._after is None:
            output, after = self._model(self._tokens, before)
        else:
            after = self._after(self._tokens, before)
        if self._pooled:
            self.total.add_(self._term_of(output, self._targets))
        torch._foreach_copy_(self.state, leaves_of(after))

    def _read_back(self) -> None:
        before = [leaf.detach().requires_grad_() for leaf in self.state]
        with torch.enable_grad():
            output, after = self._model(self._tokens, with_leaves(self._form, iter(before)))
            term = self._term_of(output, self._targets)
        with torch.autocast(term.device.type, enabled=False):
            found = torch.autograd.grad(
                [term, *leaves_of(after)],
                [*self.parameters, *before],
                [self.weight, *self.adjoint],
                materialize_grads=True,
            )
        with torch.no_grad():
            torch._foreach_add_(self.sums, found[: len(self.sums)])
            torch._foreach_copy_(self.adjoint, found[len(self.sums) :])
            self.total.add_(term)


class CudaGraphs:
    """Captures functions as CUDA graphs, all in the same memory: they must not be replayed side by side."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, steps: Sequence[Step]) -> list[Step]:
        """Replay each step."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for step in (*steps, *steps):
                step()
        torch.cuda.current_stream().wait_stream(aside)
        # What the rehearsal took would stay with the allocator in addition to what the graphs take.
        torch.cuda.empty_cache()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graphs = []
        for step in steps:
            graph = torch.cuda.CUDAGraph()
            # Other threads, such as a loader's, may meanwhile do what a capture must not do.
            # cuBLAS keeps a workspace per stream, and two graphs may be replayed side by side.
            with torch.cuda.graph(graph, self._pool, stream=aside, capture_error_mode="thread_local"):
                step()
            graphs.append(graph)
        return [graph.replay for graph in graphs]


class _WithGradients(torch.autograd.Function):
    """A loss whose backward also gives the parameters these gradients, by way of every hook on them.

    They are scaled already, as an adjoint is.
    """

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return scale, None, *ctx.gradients


def _scale(backward: Callable[[Tensor], Any], like: Tensor) -> Tensor:
    """Return the factor of the gradients in `backward`."""
    one = like.new_ones(()).requires_grad_()
    go_back(backward, one, [], [])
    assert one.grad is not None
    return one.grad
