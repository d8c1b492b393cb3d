"""How much each base of a region changes what a model expects at every later one.

Of a base i and a later one j, with p the model's probabilities at j given all bases before it:

    dependency[i, j] = max over the three replacements of i, and over A, C, G, T at j, of |log2 odds ratio|

Source: Tomaz da Silva et al. 2025, Nat. Genet. 57:2589 (nucleotide dependency analysis), whose masked models
see both sides; of a causal model what a base does to earlier ones is what its complement does on the other
strand.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Ids, get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.errors import UserError
from dnamamba.inference.device import need_finite, need_language_model
from dnamamba.inference.effects import STRANDS
from dnamamba.inference.inputs import need_alphabet
from dnamamba.inference.one_hot import LETTERS, replacements
from dnamamba.inference.streaming import Reader
from dnamamba.models.base import State, need

Floats = NDArray[np.float64]


def dependency_map(
    model: Model,
    genome: Genome,
    region: Interval,
    *,
    context: int = 512,
    strand: str = "both",
    advance: Callable[[int], None] = lambda done: None,
) -> Floats:
    """Compute a region's dependencies between bases, float64 [length, length]: row i on column j.

    Above the diagonal is what a base does to later ones, below it (by the reverse complement) to earlier
    ones; the diagonal, unknown bases and the triangle of a strand that is not read are NaN.

    Args:
        model: pretrained and causal; where it is recurrent what lies before a base is read once for all of
            its replacements. It runs where its parameters lie.
        genome: the reference, in the model's alphabet.
        region: of the genome.
        context: bases that are read before the region, as many as there are.
        strand: `both`, `forward` or `reverse`.
        advance: is called with the number of bases done since the last call.

    Raises:
        UserError: a value is out of range, a region that the genome does not have, or a model of another
            kind.
    """
    if strand not in STRANDS:
        raise UserError(f"strand: must be one of {', '.join(STRANDS)} (got {strand!r})")
    if context < 0:
        raise UserError(f"context: must be at least 0 (got {context})")
    need(need_language_model(model).backbone, ("causal",), "a dependency map")
    need_alphabet(genome, get_alphabet(model.config.alphabet))
    reader = Reader(model, precision="fp32")
    first, last = max(0, region.start - context), min(genome.lengths[region.name], region.end + context)
    reader.need_length(region.end - first, f"{region.name}:{region.start + 1}", "set a smaller context")
    found = np.full((region.length, region.length), np.nan)
    for reverse in STRANDS[strand]:
        ids = genome.fetch(region.name, region.start if reverse else first, last if reverse else region.end)
        ids = genome.alphabet.reverse_complement(ids) if reverse else ids
        part = _later(reader, ids, ids.size - region.length, advance)
        upper = np.triu_indices(region.length, 1)
        if reverse:
            part = part[::-1, ::-1]
            upper = np.tril_indices(region.length, -1)
        found[upper] = part[upper]
    letters = genome.alphabet.decode(genome.fetch(*region)).upper()
    known = np.array([letter in LETTERS for letter in letters])
    found[~known], found[:, ~known] = np.nan, np.nan
    pairs = np.array([True, False]) if strand == "both" else np.array([strand == "forward"])
    judged = np.zeros_like(found, dtype=bool)
    for forward in pairs:
        judged |= np.triu(np.outer(known, known), 1) if forward else np.tril(np.outer(known, known), -1)
    need_finite(found[judged], f"{region.name}:{region.start + 1}")
    return found


def _later(reader: Reader, ids: Ids, before: int, advance: Callable[[int], None]) -> Floats:
    """Return the effect of each base from `before` on, on later ones, [n, n], in reading direction."""
    bases = reader.alphabet.encode(LETTERS)
    columns = torch.from_numpy(bases.astype(np.int64)).to(reader.device)
    recurrent = reader.model.backbone.recurrent
    size = ids.size - before
    found = np.full((size, size), np.nan)
    state = None
    if recurrent:
        for start in range(0, before, reader.piece):
            _, state = reader.hidden(
                reader.to_device(ids[None, start : min(start + reader.piece, before)]), state
            )
    for row in range(size - 1):
        here = before + row
        new = replacements(int(ids[here]), reader.alphabet)[1]
        if new.size:
            found[row, row + 1 :] = _change(reader, ids, here, new, state, columns)
        if recurrent:
            _, state = reader.hidden(reader.to_device(ids[None, here : here + 1]), state)
        advance(1)
    advance(1)
    return found


def _change(
    reader: Reader, ids: Ids, here: int, new: Ids, state: State, columns: Tensor
) -> NDArray[np.float64]:
    """Return the largest change of log2 odds at each base behind `here`, of its replacements, float64 [n].

    Args:
        reader: of the model.
        ids: uint8 [L].
        here: the base that is replaced.
        new: ids of its replacements.
        state: of a recurrent family before `here`; None: what is before is read again.
        columns: ids of A, C, G and T.
    """
    recurrent = reader.model.backbone.recurrent
    # The base as it is and its replacements, each before the same bases.
    alleles = [ids[here], *new]
    tails = np.repeat(ids[None, here if recurrent else 0 :], len(alleles), axis=0)
    tails[:, 0 if recurrent else here] = alleles
    after = None
    if state is not None:
        rows = torch.zeros(len(alleles), dtype=torch.int64, device=reader.device)
        after = reader.model.backbone.take(state, rows)
    hidden, _ = reader.hidden(reader.to_device(tails), after)
    odds = _log2_odds(reader.unembed(hidden[:, -(ids.size - here) : -1]), columns)
    return np.asarray((odds[1:] - odds[:1]).abs().amax((0, 2)).double().cpu().numpy())


def _log2_odds(logits: Tensor, columns: Tensor) -> Tensor:
    """Return log2 of p / (1 - p) of the next base, [.., 4], among the four bases alone."""
    of_bases = logits[..., columns].double()
    rest = torch.stack(
        [of_bases[..., [other for other in range(4) if other != base]].logsumexp(-1) for base in range(4)], -1
    )
    return (of_bases - rest) / np.log(2)
