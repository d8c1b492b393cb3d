"""The chain over neighbouring answers, compared with a sum over all paths and with finite differences."""

import itertools

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dnamamba.models.chain import IGNORED, Chain, forward_backward


def by_paths(logits: torch.Tensor, transition: torch.Tensor, allowed: torch.Tensor) -> tuple:
    """log of the sum, marginals and pairs of one chain [L, S] over the paths that `allowed` [L, S] leaves."""
    length, states = logits.shape
    total, marginals, pairs = 0.0, torch.zeros_like(logits), torch.zeros_like(transition)
    for path in itertools.product(range(states), repeat=length):
        if not all(allowed[t, s] for t, s in enumerate(path)):
            continue
        score = sum(logits[t, s] for t, s in enumerate(path))
        score = score + sum(transition[a, b].log() for a, b in itertools.pairwise(path))
        weight = float(torch.exp(torch.as_tensor(score)))
        total += weight
        for t, s in enumerate(path):
            marginals[t, s] += weight
        for a, b in itertools.pairwise(path):
            pairs[a, b] += weight
    return torch.tensor(total, dtype=torch.float64).log(), marginals / total, pairs / total


def drawn(length: int) -> tuple[Chain, torch.Tensor]:
    torch.manual_seed(length)
    chain = Chain(3).double()
    with torch.no_grad():
        chain.bias.normal_()
    return chain, torch.randn(2, length, 3, dtype=torch.float64)


def test_sums_equal_those_over_all_paths() -> None:
    for length in (1, 2, 5, 7):
        chain, logits = drawn(length)
        transition = chain.bias.detach().softmax(1)
        found = forward_backward(logits.exp(), transition)
        pairs = torch.zeros(3, 3, dtype=torch.float64)
        for row in range(2):
            everything = torch.ones(length, 3, dtype=torch.bool)
            total, marginals, steps = by_paths(logits[row], transition, everything)
            pairs += steps
            torch.testing.assert_close(found.log_total[row], total, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(found.marginals[row], marginals, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found.pairs, pairs, rtol=1e-10, atol=1e-12)


def test_loss_sums_over_bases_without_target() -> None:
    chain, logits = drawn(6)
    targets = torch.tensor([[0, 1, IGNORED, 2, IGNORED, 0], [IGNORED, 2, 2, 1, 0, 0]], dtype=torch.uint8)
    transition = chain.bias.detach().softmax(1)
    expected = 0.0
    for row in range(2):
        allowed = torch.stack(
            [torch.ones(3) if t == IGNORED else torch.eye(3)[t] for t in targets[row].long()]
        )
        everything = torch.ones(6, 3)
        expected += float(by_paths(logits[row], transition, everything)[0])
        expected -= float(by_paths(logits[row], transition, allowed)[0])
    assert abs(chain.loss_sum(logits, targets).item() - expected) < 1e-10


def test_gradients_of_loss_are_those_of_finite_differences() -> None:
    chain, logits = drawn(9)
    targets = torch.randint(0, 3, (2, 9), dtype=torch.uint8)
    targets[0, 3:5] = IGNORED
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, b: _with(chain, b, x, targets), (logits, chain.bias))


def _with(chain: Chain, bias: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    from dnamamba.models.chain import _Loss

    return _Loss.apply(logits, bias, targets)


def test_long_chain_with_rare_transitions_stays_finite() -> None:
    chain = Chain(3)
    chain.begin(torch.eye(3, dtype=torch.float64) * 100)
    logits = 200 * torch.randn(1, 3000, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(1, 3000, dtype=torch.uint8)
    logits.requires_grad_()
    loss = chain.loss_sum(logits, targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(chain.log_posteriors(logits[0])).all()


class Threads(TorchDispatchMode):
    """The numbers of threads that operations had."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(torch.get_num_threads())
        return func(*args, **(kwargs or {}))


def test_sums_take_one_thread_and_give_back_the_rest() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        likelihood, transition = torch.ones(1, 9, 2).double(), torch.full((2, 2), 0.5).double()
        with Threads() as all_of:
            forward_backward(likelihood, transition)
        assert set(all_of.seen) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
