"""Loci in memory, and what models without training make of their variants."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.markov import MarkovModel
from dnamamba.heads.bootstrap import interval
from dnamamba.heads.metrics import ranking, spearman
from dnamamba.inference.variants import score_variants
from dnamamba.models import LanguageModel

Floats = NDArray[np.float64]


class Loci(Genome):
    """Sequences in memory that are read as a genome is.

    Args:
        sequences: letters of each, by name.
        alphabet: name of the alphabet.
    """

    def __init__(self, sequences: Mapping[str, str], alphabet: str) -> None:
        self.circular = frozenset()
        self.path, self.alphabet = Path("sequences in memory"), get_alphabet(alphabet)
        self._records = {name: self.alphabet.encode(letters) for name, letters in sequences.items()}
        self.lengths = {name: ids.size for name, ids in self._records.items()}


class Change(NamedTuple):
    """A single-base change: record, position from 1, reference, alternative."""

    name: str
    position: int
    ref: str
    alt: str


def likelihood_ratios(model: LanguageModel, genome: Genome, changes: Sequence[Change], window: int) -> Floats:
    """Return each change's log-likelihood ratio in nats, both strands averaged, as `dnamamba score` does.

    Args:
        model: pretrained.
        genome: the reference.
        changes: to score.
        window: bases that the model reads around a change.
    """
    order = sorted(range(len(changes)), key=lambda i: changes[i][:3])
    effects = score_variants(model, genome, [changes[i] for i in order], window=window)
    found = np.empty(len(changes))
    found[order] = effects.llr
    return found


def markov_ratios(order: int, loci: Genome, changes: Sequence[Change]) -> Floats:
    """Return log-likelihood ratios of a Markov model fitted to both strands of these loci, in nats.

    Args:
        order: of the Markov model.
        loci: the sequences.
        changes: to score.
    """
    model = MarkovModel.fit([loci.fetch(name) for name in loci.names], order)
    found = np.empty(len(changes))
    for number, (name, position, _, alt) in enumerate(changes):
        first = max(0, position - 1 - order)
        there = loci.fetch(name, first, min(loci.lengths[name], position + order)).copy()
        other = there.copy()
        other[position - 1 - first] = loci.alphabet.encode(alt)[0]
        flip = loci.alphabet.reverse_complement
        bits = [model.bits(row[None])[0] for row in (there, other, flip(there), flip(other))]
        found[number] = (bits[0] + bits[2] - bits[1] - bits[3]) / 2 * np.log(2)
    return found


def transversions(changes: Sequence[Change]) -> Floats:
    """Return 1 for a transversion, 0 for a transition."""
    pairs = ({"A", "G"}, {"C", "T"})
    return np.array([float({one.ref, one.alt} not in pairs) for one in changes])


def auroc(scores: Floats, true: NDArray[np.bool_], samples: int, seed: int) -> tuple[float, float, float]:
    """Return the area under the ROC curve and its 95 % interval over draws of examples with replacement.

    Args:
        scores: float64 [n], higher where an example is likelier true.
        true: bool [n].
        samples, seed: of the draws; those that lack a kind are left out.
    """
    given, kinds = torch.from_numpy(scores), torch.from_numpy(true)
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(len(true), (len(true),), generator=generator) for _ in range(samples)]
    drawn = torch.tensor([ranking(given[one], kinds[one])[0] for one in rows], dtype=torch.float64)
    value = ranking(given, kinds)[0]
    return (value, *interval(drawn, value))


def mean_spearman(
    groups: Sequence[tuple[Floats, Floats]], samples: int, seed: int
) -> tuple[float, float, float]:
    """Return the mean rank correlation over groups, and its 95 % interval over draws within groups.

    Args:
        groups: scores and measurements of each, float64 [n].
        samples, seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = [(torch.from_numpy(scores), torch.from_numpy(values)) for scores, values in groups]
    drawn = torch.empty(len(pairs), samples, dtype=torch.float64)
    for number, (scores, values) in enumerate(pairs):
        for sample in range(samples):
            rows = torch.randint(len(scores), (len(scores),), generator=generator)
            drawn[number, sample] = spearman(scores[rows], values[rows])
    value = torch.tensor([spearman(*pair) for pair in pairs], dtype=torch.float64).mean().item()
    return (value, *interval(drawn.mean(0), value))
