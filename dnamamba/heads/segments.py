"""Runs of bases with one feature: what is called, what is true, and how well the two agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.base_classes import IGNORED, group_of
from dnamamba.data.gene_parts import CODON

OVERLAP = 0.5  # of intersection and union, from which on two segments are the same


class Segment(NamedTuple):
    """A run of bases.

    Attributes:
        start, end: 0-based, the end not included.
        kind: the feature, such as `CDS`.
        strand: `+`, `-` or `.`.
        first, last: the class of its first and last base.
    """

    start: int
    end: int
    kind: str
    strand: str
    first: int
    last: int

    def phase(self, labels: Sequence[str]) -> str:
        """Count the bases before the first whole codon, as in column 8 of GFF3; `.` without a frame."""
        name = labels[self.last if self.strand == "-" else self.first].rstrip("+-")
        return str(-CODON.index(name) % 3) if name in CODON else "."


def segments(classes: NDArray[np.uint8], labels: Sequence[str]) -> list[Segment]:
    """Find runs of bases with one feature and strand; codon positions are one feature, class 0 is none.

    A run that touches an `IGNORED` base is left out: nobody knows where it ends.

    Args:
        classes: uint8 [n].
        labels: names of the classes.
    """
    groups = [group_of(label) for label in labels]
    names = list(dict.fromkeys(groups))
    table = np.full(256, len(names), dtype=np.uint8)
    table[: len(labels)] = [names.index(group) for group in groups]
    runs = table[classes]
    edges = np.flatnonzero(np.diff(runs)) + 1
    bounds = np.concatenate(([0], edges, [runs.size])) if runs.size else np.zeros(1, dtype=np.int64)
    kinds = runs[bounds[:-1]]
    unsure = np.concatenate(([False], kinds == len(names), [False]))
    wanted = (kinds != table[0]) & ~(unsure[:-2] | unsure[1:-1] | unsure[2:])
    return [
        Segment(start, end, kind, strand, int(classes[start]), int(classes[end - 1]))
        for place in np.flatnonzero(wanted).tolist()
        for start, end in [(int(bounds[place]), int(bounds[place + 1]))]
        for kind, strand in [names[int(kinds[place])]]
    ]


def called(best: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the predicted classes, with `IGNORED` where the true class is unknown."""
    return np.where(truth == IGNORED, np.uint8(IGNORED), best)


def agreement(
    predicted: Sequence[Sequence[Segment]], true: Sequence[Sequence[Segment]]
) -> list[dict[str, Any]]:
    """Compute per feature and strand the number of segments, and precision, recall and F1 of those found.

    `exact` are segments with both ends right, `overlap` those whose intersection with a true one is at least
    half of their union. None stands for a share of nothing.

    Args:
        predicted, true: the segments of each record.
    """
    kinds = dict.fromkeys((one.kind, one.strand) for record in (*true, *predicted) for one in record)
    rows = []
    for kind, strand in sorted(kinds):
        pairs = [
            tuple([(s.start, s.end) for s in side if (s.kind, s.strand) == (kind, strand)] for side in both)
            for both in zip(predicted, true, strict=True)
        ]
        found, there = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
        exact = sum(len(set(ours) & set(theirs)) for ours, theirs in pairs)
        overlap = sum(_overlapping(ours, theirs) for ours, theirs in pairs)
        rows.append(
            {"feature": kind, "strand": strand, "true": there, "called": found}
            | {
                name: {
                    "precision": right / found if found else None,
                    "recall": right / there if there else None,
                    "f1": 2 * right / (found + there) if found + there else None,
                }
                for name, right in (("exact", exact), ("overlap", overlap))
            }
        )
    return rows


def _overlapping(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> int:
    """Pair segments that overlap by `OVERLAP`, each in one pair at most; both lists in order."""
    pairs, j = 0, 0
    for start, end in ours:
        while j < len(theirs) and theirs[j][1] <= start:
            j += 1
        k = j
        while k < len(theirs) and theirs[k][0] < end:
            shared = min(end, theirs[k][1]) - max(start, theirs[k][0])
            union = max(end, theirs[k][1]) - min(start, theirs[k][0])
            if shared >= OVERLAP * union:
                pairs, j = pairs + 1, k + 1
                break
            k += 1
    return pairs
