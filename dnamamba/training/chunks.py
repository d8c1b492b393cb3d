"""Exact gradients of a recurrent model over a sequence of any length, in the memory of one chunk of it.

The sequence is read by chunks without gradients, and only the recurrent state at each border is kept. Then,
from the last chunk to the first, a chunk is read again with gradients, from its state as a leaf s; the loss
of the chunk and the adjoint a' of the state s' that it left behind go back through it together:

    a = d(loss)/ds = d(loss of the chunk)/ds + a' ds'/ds

and a goes to the chunk before. Nothing is truncated; the price is one more forward pass, of all chunks but
the last. A model serves if all of this holds:

- recurrent: `model(tokens, state)` returns the output and the state after the last position. A state is
  nested tuples of tensors, and all that later positions know of earlier ones; None is the beginning. Two
  calls with the state carried equal one call, in outputs and in gradients;
- causal: an output depends on no later token, so that padding on the right changes nothing before it;
- repeatable: read twice from one state it gives the same outputs (no dropout, no statistics of batches).

Source: Werbos, "Backpropagation through time: what it does and how to do it" (1990), for the adjoint; Chen et
al., "Training Deep Nets with Sublinear Memory Cost" (2016), arXiv 1604.06174, section 4, for the second read.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnamamba.errors import UserError
from dnamamba.kernels.exact import exact, rounded

Targets = Callable[[slice], Tensor]
Term = Callable[[Tensor, Tensor], Tensor]
After = Callable[[Tensor, Any], Any]


def chunked_backward(
    model: nn.Module,
    tokens: Tensor,
    chunk: int,
    targets_of: Targets,
    term_of: Term,
    loss_of: Callable[[Tensor], Tensor] | None = None,
    *,
    after: After | None = None,
    truncated: bool = False,
    backward: Callable[[Tensor], Any] = Tensor.backward,
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Add the gradients of a loss over whole sequences to the parameters, reading them by chunks.

    The loss is `loss_of` of the sum of a term of each chunk, or that sum itself: a cross-entropy of every
    position is a sum of scalars, a pooled vector is a sum of vectors (see `dnamamba.models.chunk_pooling`).
    What is read under autocast is gone back through outside it. The sequence is read once where no parameter
    of the model wants a gradient (a head trained alone), and where it is `truncated` without a `loss_of`.

    >>> import torch.nn.functional as F
    >>> from dnamamba import LanguageModel, MambaConfig
    >>> model = LanguageModel(MambaConfig(d_model=8, n_layer=1))
    >>> tokens = torch.randint(4, (1, 101))
    >>> targets = tokens[:, 1:]
    >>> loss = chunked_backward(
    ...     model, tokens[:, :-1], 40, lambda span: targets[:, span],
    ...     lambda logits, bases: F.cross_entropy(logits.mT, bases.long(), reduction="sum"),
    ... )
    >>> model.backbone.embedding.weight.grad.shape
    torch.Size([8, 8])

    Args:
        model: what the module's docstring asks for, in a wrapper for data parallelism or not.
        tokens: [B, L] of any integer dtype, padded on the right if at all.
        chunk: positions at a time, at least 1. The first chunk is shorter where L is not a multiple.
        targets_of: the tensor that the term of positions [start, stop) needs, on the device. It is made chunk
            by chunk, as int64 targets of a chromosome would take more memory than everything else.
        term_of: the term, given the model's output [B, T, ...] and these targets: a scalar, or with `loss_of`
            a tensor of the same shape for all chunks. With `loss_of` it has no parameters of its own.
        loss_of: the scalar loss, given the sum of all terms. A head's parameters get their gradients here.
        after: of tokens and a state, the state behind them; by default what the model says of it.
        truncated: carry the state but no adjoint over borders (truncated backpropagation through time).
        backward: goes back from a scalar. It may scale it, by one number for all chunks.
        no_sync: entered around every chunk but the one whose backward comes last, so that processes exchange
            gradients once: `DistributedDataParallel.no_sync`. All parameters take part in that last backward.

    Returns:
        The loss, detached.

    Raises:
        UserError: `chunk` is below 1.
    """
    if chunk < 1:
        raise UserError(f"train.chunk_bases: a chunk has at least one base (got {chunk}); set 1 or more")
    reading = Reading(model, tokens, targets_of, term_of, after)
    spans = spans_of(tokens.shape[1], chunk)
    frozen = not any(parameter.requires_grad for parameter in model.parameters())
    with autocast_without_cache():
        if loss_of is None and (frozen or truncated):
            return _in_one_pass(reading, spans, backward, no_sync)
        states, total = reading.borders(spans if frozen else spans[:-1], terms=loss_of is not None)
        if frozen:
            assert loss_of is not None
            loss = loss_of(total)
            go_back(backward, loss, [], [])
            return loss.detach()
        return _in_reverse(reading, spans, states, total, loss_of, truncated, backward, no_sync)


def spans_of(length: int, chunk: int) -> list[slice]:
    """Cut a sequence into chunks; the rest is a short first one, because the last is read only once."""
    edges = sorted({0, *range(length % chunk, length + 1, chunk)})
    return [slice(start, stop) for start, stop in pairwise(edges)]


def leaves_of(state: Any) -> list[Tensor]:
    """Return the tensors of a state, in order; of None, none."""
    if state is None:
        return []
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in leaves_of(part)]


def with_leaves(state: Any, leaves: Iterator[Tensor]) -> Any:
    """Return a state of the same form with these tensors."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else next(leaves)
    parts = [with_leaves(part, leaves) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)


class _Chunk(NamedTuple):
    """A chunk that was read with gradients: its term, and the tensors of the states before and after it."""

    term: Tensor
    before: list[Tensor]
    after: list[Tensor]


class Reading(NamedTuple):
    """What is read, and what is made of it."""

    model: nn.Module
    tokens: Tensor
    targets_of: Targets
    term_of: Term
    after: After | None = None

    @torch.no_grad()
    def borders(self, spans: list[slice], *, terms: bool) -> tuple[list[Any], Any]:
        """Return the states before each span and after the last, and the sum of terms (0 without `terms`)."""
        states: list[Any] = [None]
        total: Any = 0
        kept: list[Tensor] = []
        for number, span in enumerate(spans):
            if terms or self.after is None:
                output, state = self.model(self.tokens[:, span], states[-1])
            else:
                state = self.after(self.tokens[:, span], states[-1])
            # All in one place: small tensors that stay between large ones that go would split the memory.
            kept = kept or [leaf.new_empty(len(spans), *leaf.shape) for leaf in leaves_of(state)]
            rows = [leaf[number] for leaf in kept]
            torch._foreach_copy_(rows, leaves_of(state))
            states.append(with_leaves(state, iter(rows)))
            if terms:
                # In fp64: a chromosome is thousands of chunks.
                total = total + exact(self.term_of(output, self.targets_of(span)))
        return states, total

    def chunk(self, span: slice, state: Any, *, adjoint: bool) -> _Chunk:
        """Read a span with gradients, and with those of the state before it if `adjoint`.

        Args:
            span: its positions.
            state: before it.
            adjoint: whether the gradient of that state is wanted.
        """
        before = [leaf.detach().requires_grad_(adjoint) for leaf in leaves_of(state)]
        with torch.enable_grad():
            output, after = self.model(self.tokens[:, span], with_leaves(state, iter(before)))
            return _Chunk(self.term_of(output, self.targets_of(span)), before, leaves_of(after))


def _in_one_pass(
    reading: Reading,
    spans: list[slice],
    backward: Callable[[Tensor], Any],
    no_sync: Callable[[], AbstractContextManager[Any]],
) -> Tensor:
    """Go back through each chunk as soon as it is read; no gradient crosses a border."""
    total: Any = 0
    state: Any = None
    for span in spans:
        with nullcontext() if span is spans[-1] else no_sync():
            with torch.enable_grad():
                output, state = reading.model(reading.tokens[:, span], state)
                term = reading.term_of(output, reading.targets_of(span))
            state = with_leaves(state, iter([leaf.detach() for leaf in leaves_of(state)]))
            del output
            go_back(backward, term, [], [])
            total = total + exact(term.detach())
    return rounded(total, term)


def _in_reverse(
    reading: Reading,
    spans: list[slice],
    states: list[Any],
    total: Any,
    loss_of: Callable[[Tensor], Tensor] | None,
    truncated: bool,
    backward: Callable[[Tensor], Any],
    no_sync: Callable[[], AbstractContextManager[Any]],
) -> Tensor:
    """Go back from the last chunk to the first.

    Args:
        states: the state before each chunk.
        total: the sum of the terms of all chunks but the last, if there is a `loss_of`; else 0.
    """
    adjoint: list[Tensor | None] = []
    loss, weight = total, None
    for number, span in enumerate(reversed(spans), start=1):
        is_last = number == len(spans)
        with nullcontext() if is_last else no_sync():
            chunk = reading.chunk(span, states.pop(), adjoint=not truncated)
            if loss_of is None:
                back = chunk.term
                total = total + exact(chunk.term.detach())
            else:
                if weight is None:
                    total = rounded(total + exact(chunk.term.detach()), chunk.term)
                    loss, weight = loss_and_weight(loss_of, total)
                back = (chunk.term * weight).sum()
                if is_last:
                    # Here and not before, so that the head's gradients are exchanged with all others.
                    back = back + loss
            go_back(backward, back, chunk.after, adjoint)
            adjoint = [leaf.grad for leaf in chunk.before] if not truncated else []
            term = chunk.term.detach()
            del chunk, back
    return rounded(total, term) if loss_of is None else loss.detach()


def loss_and_weight(loss_of: Callable[[Tensor], Tensor], total: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scalar loss, with its graph, and its derivative with respect to the sum of all terms."""
    total = total.requires_grad_()
    with torch.enable_grad():
        loss = loss_of(total)
    with torch.autocast(total.device.type, enabled=False):
        (weight,) = torch.autograd.grad(loss, total, retain_graph=True)
    return loss, weight


def go_back(
    backward: Callable[[Tensor], Any], loss: Tensor, states: list[Tensor], adjoint: list[Tensor | None]
) -> None:
    """Go back from a loss and, where there is an adjoint, from the state that a chunk left behind.

    Args:
        backward: runs the backward pass of a scalar.
        loss: the chunk's share, a scalar.
        states: after the chunk, with their graph.
        adjoint: the gradients of these states.
    """
    if adjoint:
        loss = _WithAdjoint.apply(loss, adjoint, *states)
    with torch.autocast(loss.device.type, enabled=False):
        backward(loss)


class _WithAdjoint(torch.autograd.Function):
    """A loss whose backward also gives the states their adjoint.

    If the loss is scaled, so was the one that the adjoint comes from. It must not be scaled again, as it
    would be by adding an inner product to the loss.
    """

    @staticmethod
    def forward(ctx: Any, loss: Tensor, adjoint: list[Tensor | None], *states: Tensor) -> Tensor:
        ctx.adjoint = adjoint
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, None, *ctx.adjoint


@contextmanager
def autocast_without_cache() -> Iterator[None]:
    """Let autocast cast weights anew for each use.

    A copy made in one read is not for another: it may know no gradients, or belong to a CUDA graph.
    """
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
