"""Windows to classify by species, as a pure function of the seed and of a sample's number.

The species is drawn first, uniformly; then a locus, with odds that are the same for all species; then a place
in it, uniformly over all where a window fits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.alphabet import Ids
from dnamamba.data.sampling import Windows, gather
from dnamamba.data.species import Locus, SpeciesGenomes
from dnamamba.data.stateless import Int64s, random_bits

# Streams 1 to 4 are those of data/sampling.py and data/epochs.py.
_SPECIES_STREAM, _LOCUS_STREAM, _STRAND_STREAM, _PLACE_STREAM = 5, 6, 7, 8
# A window of too many N is drawn again; where nearly all are, the last one is kept.
_DRAWS = 64


class SpeciesWindows:
    """Random windows with the species that each is from.

    Args:
        genomes: the bases.
        loci: where windows may lie, intervals of at least `length` bases (`CleanStretches.loci`).
        length: bases of a window.
        seed: any integer; its low 64 bits count.
        reverse_complement: draw the strand; without it every window is on the forward strand.
        balanced: sample i is of species i modulo their number, for sets that are fixed.
        max_n: the largest share of N in a window.
    """

    def __init__(
        self,
        genomes: SpeciesGenomes,
        loci: Sequence[Locus],
        length: int,
        seed: int,
        *,
        reverse_complement: bool,
        balanced: bool = False,
        max_n: float = 0.0,
    ) -> None:
        self.genomes = genomes
        self.length = length
        self.seed = seed
        self.reverse_complement = reverse_complement
        self.balanced = balanced
        self.max_n = max_n
        self.number_of_species = len(loci[0].stretches)
        # One row an interval, sorted by locus and species: a pair of them is a range of places to begin at.
        parts = [part for locus in loci for of in locus.stretches for part in of]
        self.names = tuple(dict.fromkeys(part.name for part in parts))
        index_of = {name: index for index, name in enumerate(self.names)}
        self._record = np.array([index_of[part.name] for part in parts], dtype=np.int64)
        self._first = np.array([part.start for part in parts], dtype=np.int64)
        places = np.array([part.length - length + 1 for part in parts], dtype=np.int64)
        self._before = np.concatenate(([0], np.cumsum(places)))
        intervals = np.array([len(of) for locus in loci for of in locus.stretches], dtype=np.int64)
        pair_ends = np.cumsum(intervals)
        self._pair_first = self._before[pair_ends - intervals]
        self._pair_places = self._before[pair_ends] - self._pair_first
        weights = np.cumsum([locus.weight for locus in loci])
        self._odds = weights / weights[-1]

    def draw(self, index: Int64s) -> tuple[Int64s, Windows]:
        """Draw species `[B]` and windows of the samples with these numbers."""
        species, windows = self._draw(index, _PLACE_STREAM)
        if self.max_n > 0:
            rows = np.arange(index.size)
            for attempt in range(1, _DRAWS):
                rows = rows[self._too_many_n(windows.take(rows))]
                if not rows.size:
                    break
                again = self._draw(index[rows], _PLACE_STREAM + attempt)[1]
                windows.start[rows], windows.record[rows] = again.start, again.record
        return species, windows

    def tokens(self, windows: Windows) -> Ids:
        """Return the bases of windows, uint8 `[B, length]`."""
        return gather(self.genomes, self.names, windows, self.length - 1)

    def regions(self, windows: Windows) -> list[str]:
        """Return the windows as text such as `human:chr7:1000-2024(+)`."""
        return windows.regions(self.names)

    def _draw(self, index: Int64s, place_stream: int) -> tuple[Int64s, Windows]:
        species = (
            index % self.number_of_species
            if self.balanced
            else _uniform(self.seed, _SPECIES_STREAM, index, np.int64(self.number_of_species))
        )
        # 53 bits, as many as a float64 holds.
        fraction = (random_bits(self.seed, _LOCUS_STREAM, index) >> np.uint64(11)) * 2.0**-53
        locus = np.searchsorted(self._odds, fraction, side="right")
        pair = locus * self.number_of_species + species
        place = self._pair_first[pair] + _uniform(self.seed, place_stream, index, self._pair_places[pair])
        interval = np.searchsorted(self._before, place, side="right") - 1
        strand = np.zeros(index.shape, dtype=np.int8)
        if self.reverse_complement:
            strand[:] = random_bits(self.seed, _STRAND_STREAM, index) >> np.uint64(63)
        start = self._first[interval] + place - self._before[interval]
        length = np.full(index.shape, self.length, dtype=np.int64)
        return species, Windows(self._record[interval], start, length, strand)

    def _too_many_n(self, windows: Windows) -> NDArray[np.bool_]:
        scored = self.genomes.alphabet.scored
        rows = zip(*(column.tolist() for column in windows[:3]), strict=True)
        counts = [
            length - np.count_nonzero(scored[self.genomes.fetch(self.names[record], start, start + length)])
            for record, start, length in rows
        ]
        return np.array(counts) > self.max_n * self.length


def _uniform(seed: int, stream: int, index: Int64s, below: Int64s | np.int64) -> Int64s:
    """Draw whole numbers from 0 to below `below`; small ones are favoured by 2^-32 at most, at 4 Gb."""
    return (random_bits(seed, stream, index) % below.astype(np.uint64)).astype(np.int64)
