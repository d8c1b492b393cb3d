"""Words of a few letters: how often two sets of sequences have each, as a picture."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dnamamba.reports.figures import BASELINE, GRID, HELD_OUT, MUTED, SURFACE, TEXT

LENGTH = 3


def word_shares(sequences: Sequence[str], length: int = LENGTH) -> NDArray[np.float64]:
    """Return the share of each word of A, C, G and T among all words that have no other letter.

    >>> shares = word_shares(["AAAC"], 2)
    >>> [float(share) for share in shares if share]
    [0.6666666666666666, 0.3333333333333333]

    Args:
        sequences: as letters.
        length: of a word.

    Returns:
        float64 [4^length], in alphabetical order.
    """
    words = {"".join(letters): place for place, letters in enumerate(product("ACGT", repeat=length))}
    counts = np.zeros(len(words))
    for sequence in sequences:
        for start in range(len(sequence) - length + 1):
            place = words.get(sequence[start : start + length])
            if place is not None:
                counts[place] += 1
    return counts / max(counts.sum(), 1)


def word_scatter(sequences: Mapping[str, Sequence[str]]) -> tuple[Figure, float]:
    """Draw the share of each word in one set of sequences against that in another.

    Args:
        sequences: two sets by their names, the first on the x axis.

    Returns:
        The figure, and Pearson's correlation of the shares.
    """
    (first, second), (x, y) = sequences, (word_shares(each) for each in sequences.values())
    figure = Figure(figsize=(5.2, 5), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    top = 1.08 * max(float(x.max()), float(y.max()))
    axes.plot([0, top], [0, top], color=BASELINE, linewidth=1, linestyle=(0, (4, 3)))
    axes.scatter(x, y, s=14, color=HELD_OUT, alpha=0.7, linewidths=0)
    for place in np.argsort(-(x + y))[:4]:
        word = "".join("ACGT"[place // 4**power % 4] for power in reversed(range(LENGTH)))
        axes.annotate(
            word, (x[place], y[place]), xytext=(4, -8), textcoords="offset points", fontsize=8, color=TEXT
        )
    axes.set(xlim=(0, top), ylim=(0, top), xlabel=f"share of words in {first}", ylabel=f"in {second}")
    axes.set_facecolor(SURFACE)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, length=0)
    return figure, float(np.corrcoef(x, y)[0, 1])
