"""A hidden Markov model whose states are the classes of bases, fitted by counting; posteriors are exact.

A base depends on its state and on the bases before it, a state on the one before. With codon positions as
classes this is the gene finder of the 1990s. Everything is float64.

Source: Rabiner, Proc. IEEE 77, 257 (1989), for forward and backward; Borodovsky and McIninch, Comput. Chem.
17, 123 (1993), for codon positions with a Markov order.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.data.base_classes import IGNORED
from dnamamba.models.chain import AT_ONCE, OVERLAP, forward_backward
from dnamamba.models.pooling import BASES

Bases = NDArray[np.uint8]
Floats = NDArray[np.float64]
_PSEUDO = 0.5


@dataclass(frozen=True)
class HiddenMarkov:
    """A fitted model.

    Attributes:
        order: bases before a base that it depends on.
        start: float64 [S], shares of the states.
        transition: float64 [S, S], from, to.
        emission: float64 [4 ** (order + 1), S], of a base after `order` others.
    """

    order: int
    start: Floats
    transition: Floats
    emission: Floats

    def log_posteriors(self, bases: Bases) -> Floats:
        """Return the logarithm of each state's probability given all bases, float64 [n, S].

        Records of more than 2^21 bases are read in parts that share 2^14.

        Args:
            bases: uint8 [n], 0 to 3 of A, C, G, T; above 3 what is not known.
        """
        parts = [
            self._part(bases, start, min(start + AT_ONCE, bases.size))
            for start in range(0, bases.size, AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.start.size))

    def _part(self, bases: Bases, start: int, end: int) -> Floats:
        first, last = max(0, start - OVERLAP), min(bases.size, end + OVERLAP)
        words = words_of(bases, self.order)[first:last]
        table = np.concatenate([self.emission, np.ones((1, self.start.size))])
        likelihood = table[words]  # -1 is the last row: says nothing
        likelihood[0] *= self.start
        sums = forward_backward(torch.from_numpy(likelihood)[None], torch.from_numpy(self.transition))
        found = sums.marginals[0].numpy()
        return np.log(np.maximum(found[start - first : end - first], 1e-300))


def fit_hmm(records: Iterable[tuple[Bases, Bases]], states: int, order: int) -> HiddenMarkov:
    """Fit the model by counting.

    Args:
        records: bases (see `HiddenMarkov.log_posteriors`) and classes, uint8 [n] each, `IGNORED` among them.
        states: number of classes.
        order: of the emissions.
    """
    words = 4 ** (order + 1)
    emission = np.full(words * states, _PSEUDO)
    transition = np.zeros(states * states)
    for bases, classes in records:
        word = words_of(bases, order)
        known = (word >= 0) & (classes != IGNORED)
        emission += np.bincount(word[known] * states + classes[known], minlength=words * states)
        both = (classes[:-1] != IGNORED) & (classes[1:] != IGNORED)
        steps = classes[:-1][both].astype(np.int64) * states + classes[1:][both]
        transition += np.bincount(steps, minlength=states * states)
    table = emission.reshape(-1, BASES, states)
    emission = (table / table.sum(1, keepdims=True)).reshape(words, states)
    # A state that nothing is seen to leave is left for any; its rows add up to 1 like all others.
    counts = transition.reshape(states, states)
    leaving = counts.sum(1, keepdims=True)
    start = leaving[:, 0] / leaving.sum()
    rows = np.where(leaving > 0, counts / np.maximum(leaving, 1), 1 / states)
    return HiddenMarkov(order, start, rows, emission)


def words_of(bases: Bases, order: int) -> NDArray[np.int64]:
    """Return the number of the word that ends at each base, int64 [n]; -1 where not all of it is known."""
    known = bases < BASES
    number = np.zeros(bases.size, dtype=np.int64)
    whole = np.ones(bases.size, dtype=bool)
    for back in range(order, -1, -1):
        shifted = np.zeros(bases.size, dtype=np.int64)
        there = np.zeros(bases.size, dtype=bool)
        shifted[back:] = bases[: bases.size - back]
        there[back:] = known[: bases.size - back]
        number = number * BASES + shifted
        whole &= there
    return np.where(whole, number, -1)
