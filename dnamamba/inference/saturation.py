"""Every single-base change of a region, scored: in-silico saturation mutagenesis."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.inference.effects import Windows, judge, score_sites
from dnamamba.inference.inputs import need_alphabet
from dnamamba.inference.score_tables import table
from dnamamba.inference.variants import site_of

BASES = "ACGT"


class Saturation(NamedTuple):
    """Effects of all single-base changes of a region.

    Attributes:
        region: where.
        letters: its reference bases.
        llr: [length, 4], of A, C, G, T in the place of each; 0 for the reference, NaN where it is unknown;
            of a fine-tuned model the effect on its answer.
        distance: [length, 4], the same.
    """

    region: Interval
    letters: str
    llr: NDArray[np.float64]
    distance: NDArray[np.float64]


def saturate(
    model: Model,
    genome: Genome,
    region: Interval,
    windows: Windows,
    bases_per_batch: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
    label: str | None = None,
) -> Saturation:
    """Score the three changes of every base of `region`; `effects.py` has the definitions.

    Args:
        model: it runs where its parameters lie, under the caller's autocast.
        genome: the reference, in the model's alphabet.
        region: of the genome.
        windows: how to look at a change: each has windows of its own, with the change in the middle.
        bases_per_batch: bases read at once; None is 2^20 on a GPU and 2^14 elsewhere.
        advance: is called with the number of bases done since the last call.
        label: of a fine-tuned model, whose answer is compared; None: the only one, or the second of two.

    Raises:
        UserError: a region that the genome does not have, a genome read in another alphabet than the model's,
            or a label that is not the model's.
    """
    judge(model, bases_per_batch, label)
    need_alphabet(genome, get_alphabet(model.config.alphabet))
    ids = genome.fetch(*region)
    letters = genome.alphabet.decode(ids).upper()
    known = [i for i, letter in enumerate(letters) if letter in BASES]
    changes = [[base for base in BASES if base != letters[i]] for i in known]
    sites = (
        site_of(genome, region.name, region.start + i + 1, letters[i], bases)
        for i, bases in zip(known, changes, strict=True)
    )
    llr, distance = np.full((2, len(letters), 4), np.nan)
    scores = score_sites(model, genome, sites, windows, bases_per_batch, label, advance)
    for i, bases, effects in zip(known, changes, scores, strict=True):
        columns = [BASES.index(base) for base in bases]
        llr[i], distance[i] = 0.0, 0.0
        llr[i, columns], distance[i, columns] = effects
    return Saturation(region, letters, llr, distance)


def write_table(result: Saturation, path: Path, value: str = "llr") -> None:
    """Write a line per change: record, position from 1, reference, alternative, `value`, distance.

    Args:
        result: the scores of a region.
        path: .tsv, .csv or .parquet.
        value: name of the score's column.
    """
    with table(path, [b"chrom", b"pos", b"ref", b"alt", value.encode(), b"distance"]) as add:
        for i, ref in enumerate(result.letters):
            for j, alt in enumerate(BASES):
                if ref in BASES and alt != ref:
                    scores = f"{result.llr[i, j]:.6g}", f"{result.distance[i, j]:.6g}"
                    cells = (result.region.name, str(result.region.start + i + 1), ref, alt, *scores)
                    add([each.encode() for each in cells])
