"""The package's example task: is this window of yeast coding, or between genes?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.embedded import YEAST_CODING_SEQUENCES, YEAST_FASTA
from dnamamba.data.examples import Collector, letters_of
from dnamamba.data.intervals import Interval, bed_rows
from dnamamba.data.stateless import random_bits

LABELS = ("coding", "intergenic")


def coding_windows(length: int, into: Collector) -> None:
    """Add windows of yeast's forward strand, equally many of either class on every chromosome.

    `coding` lies within one exon of an annotated coding sequence, of either strand; `intergenic` within a
    interval that no coding sequence covers, introns included in the cover. Intervals are tiled from their
    begin, without overlap. What is not coding is not empty: genes of RNA, repeats and origins are in it.

    Args:
        length: bases of a window.
        into: takes them; the group of a window is its chromosome.
    """
    genome = letters_of(YEAST_FASTA)
    exons: dict[str, NDArray[np.bool_]] = {
        name: np.zeros(size, bool) for name, size in genome.lengths.items()
    }
    genes = {name: cover.copy() for name, cover in exons.items()}
    for _, interval, others in bed_rows(YEAST_CODING_SEQUENCES):
        genes[interval.name][interval.start : interval.end] = True
        sizes, starts = ([int(value) for value in others[column].split(",")] for column in (7, 8))
        for start, size in zip(starts, sizes, strict=True):
            exons[interval.name][interval.start + start : interval.start + start + size] = True
    for name in genome.names:
        coding = list(_tiles(name, exons[name], length))
        between = list(_tiles(name, ~genes[name], length))
        # Three times as many windows are coding: a fixed choice of them, spread over the chromosome.
        order = np.argsort(random_bits(0, 0, np.arange(len(coding))), kind="stable")
        chosen = [coding[place] for place in np.sort(order[: len(between)]).tolist()]
        for label, tiles in zip(LABELS, (chosen, between), strict=True):
            for tile in tiles:
                text = f"{name}:{tile.start}-{tile.end}"
                into.add(genome.fetch(*tile), text, text, label, group=name)


def _tiles(name: str, cover: NDArray[np.bool_], length: int) -> Iterator[Interval]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], cover, [False]))))
    for start, end in edges.reshape(-1, 2).tolist():
        for first in range(start, end - length + 1, length):
            yield Interval(name, first, first + length)
