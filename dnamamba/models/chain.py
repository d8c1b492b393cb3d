"""A chain over the answers at neighbouring bases: a linear-chain conditional random field, exact.

A path of classes has the score of its bases' logits plus the logarithms of its transitions, whose rows add up
to 1. Probabilities are those of all paths: P(path) = exp(score) / sum over paths. Everything is float64.

Source: Lafferty, McCallum and Pereira, ICML 2001, for the model; Rabiner, Proc. IEEE 77, 257 (1989), for
forward and backward sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

IGNORED = 255
AT_ONCE, OVERLAP = 1 << 21, 1 << 14  # bases of one forward and backward sum, and what two of them share
_RARE = 1e-5  # of a transition that was never seen


class Sums(NamedTuple):
    """What forward and backward sums find of chains.

    Attributes:
        marginals: float64 [B, L, S], P(state at a position | all).
        pairs: float64 [S, S], expected number of steps from one state to another, of all chains.
        log_total: float64 [B], the logarithm of the sum over paths.
    """

    marginals: Tensor
    pairs: Tensor
    log_total: Tensor


class Chain(nn.Module):
    """Transitions between the classes of neighbouring bases.

    Args:
        classes: how many, S.

    Attributes:
        bias: float32 [S, S], from, to: logarithms of transitions up to a number per row. They never decay.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes, classes))

    def begin(self, counts: Tensor) -> None:
        """Take the shares of counted steps, float64 [S, S]; what was never seen is rare."""
        shares = counts / counts.sum(1, keepdim=True).clamp(min=1) + _RARE
        with torch.no_grad():
            self.bias.copy_((shares / shares.sum(1, keepdim=True)).log())

    def loss_sum(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return -log P(the targets' path), added up over windows; bases without a target are marginalised.

        Args:
            logits: [B, L, S].
            targets: uint8 [B, L], classes or `IGNORED`.
        """
        return _Loss.apply(logits, self.bias, targets)

    @torch.no_grad()
    def log_posteriors(self, logits: Tensor) -> Tensor:
        """Return log P(class at a base | all logits), float32 [n, S], of one record's logits [n, S].

        Records of more than 2^21 bases are worked out in parts that share 2^14.
        """
        transition = self.bias.double().softmax(1)
        parts = []
        for start in range(0, len(logits), AT_ONCE):
            first, last = max(0, start - OVERLAP), min(len(logits), start + AT_ONCE + OVERLAP)
            part = logits[first:last].double()[None]
            found = forward_backward((part - part.amax(-1, keepdim=True)).exp(), transition)
            parts.append(found.marginals[0, start - first : start - first + AT_ONCE])
        return torch.cat(parts).clamp(min=1e-30).log().float()


class _Loss(torch.autograd.Function):
    """The gradient is what the model expects minus what the targets say."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        transition = bias.double().softmax(1)
        scores = logits.double()
        known = targets != IGNORED
        place = targets.long().masked_fill(~known, 0)[..., None]
        wanted = torch.zeros_like(scores).scatter(-1, place, 1.0)
        wanted = torch.where(known[..., None], wanted, torch.ones_like(scores))
        # Of each base the largest score that is allowed is taken out, so that no path underflows.
        top = scores.amax(-1)
        own = torch.where(known, scores.gather(-1, place)[..., 0], top)
        free = (scores - top[..., None]).exp()
        held = torch.where(known[..., None], wanted, free)
        both = forward_backward(torch.cat([free, held]), transition, halves=True)
        rows = len(scores)
        all_paths = both.log_total[:rows].sum() + top.sum()
        these = both.log_total[rows:].sum() + own.sum()
        by_logits = both.marginals[:rows] - both.marginals[rows:]
        # Of the softmax of a row: the steps expected less the row's share of them.
        steps = both.pairs
        by_bias = steps - steps.sum(1, keepdim=True) * transition
        ctx.save_for_backward(by_logits.to(logits.dtype), by_bias.to(bias.dtype))
        return (all_paths - these).to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        by_logits, by_bias = ctx.saved_tensors
        return gradient * by_logits, gradient * by_bias, None


def forward_backward(likelihood: Tensor, transition: Tensor, *, halves: bool = False) -> Sums:
    """Sum over all paths of chains of one length, exactly.

    A chain is cut into blocks: a product of matrices takes a vector over each, and blocks are then worked out
    side by side. A chain may begin in any state. On a CPU one thread does it.

    Args:
        likelihood: float64 [B, L, S], at least 0, some state's above 0.
        transition: float64 [S, S], from, to; its rows add up to 1.
        halves: the pairs of the second half of the chains count as less, not as more.
    """
    with _one_thread():
        return _sums(likelihood, transition, halves)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Leave torch one CPU thread: the operations are thousands and small, and threads wait after each.

    On two cores that other programs used, the sums of 16 chains of 2,048 bases took 4.4 s by two threads
    and 0.03 s by one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _sums(likelihood: Tensor, transition: Tensor, halves: bool) -> Sums:
    """See `forward_backward`."""
    chains, length, states = likelihood.shape
    size = max(1, int(length**0.5))
    blocks = -(-length // size)
    # What fills the last block says nothing and comes after everything.
    table = likelihood.new_ones(chains, blocks * size, states)
    table[:, :length] = likelihood
    table = table.unflatten(1, (blocks, size))
    across = torch.eye(states, dtype=table.dtype, device=table.device).expand(chains, blocks, -1, -1)
    for t in range(size):
        moved = across @ transition
        if t == 0:
            moved = torch.cat([across[:, :1], moved[:, 1:]], 1)  # no step leads to the first position
        across = moved * table[:, :, t, None, :]
        across = across / across.sum((2, 3), keepdim=True)
    before, after = [table.new_ones(chains, states)], [table.new_ones(chains, states)]
    for block in range(blocks - 1):
        vector = (before[-1][:, None] @ across[:, block])[:, 0]
        before.append(vector / vector.sum(1, keepdim=True))
    for block in range(blocks - 1, 0, -1):
        vector = (across[:, block] @ after[-1][..., None])[..., 0]
        after.append(vector / vector.sum(1, keepdim=True))
    forward, log_total = torch.empty_like(table), table.new_zeros(chains)
    now = torch.stack(before, 1)
    for t in range(size):
        moved = now @ transition
        if t == 0:
            moved = torch.cat([now[:, :1], moved[:, 1:]], 1)
        now = moved * table[:, :, t]
        scale = now.sum(2, keepdim=True)
        log_total = log_total + scale.log().sum((1, 2))
        now = now / scale
        forward[:, :, t] = now
    entered = torch.stack(before, 1)
    now, pairs = torch.stack(after[::-1], 1), table.new_zeros(states, states)
    sign = table.new_ones(chains)
    if halves:
        sign[chains // 2 :] = -1
    marginals = torch.empty_like(table)
    real = torch.arange(blocks * size, device=table.device).unflatten(0, (blocks, size)) < length
    for t in range(size - 1, -1, -1):
        both = forward[:, :, t] * now
        marginals[:, :, t] = both / both.sum(2, keepdim=True)
        arrived = table[:, :, t] * now
        left = forward[:, :, t - 1] if t else entered
        now = arrived @ transition.T
        weight = sign[:, None] * real[:, t] / (left * now).sum(2)
        if t == 0:
            weight[:, 0] = 0
        pairs += (left * weight[..., None]).flatten(0, 1).T @ arrived.flatten(0, 1)
        now = now / now.sum(2, keepdim=True)
    return Sums(marginals.flatten(1, 2)[:, :length], pairs * transition, log_total)
