"""Tracks along a region, above its gene models."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from dnamamba.data.gene_models import GeneModel
from dnamamba.data.intervals import Interval
from dnamamba.errors import UserError
from dnamamba.escaping import drawable
from dnamamba.reports.figures import GRID, HELD_OUT, MUTED, SURFACE, TEXT, TRAINING

_WIDTH = 10.0  # inches
_LETTER = 0.011  # of the width, that a letter of a name takes


def gene_track(
    tracks: Mapping[str, ArrayLike],
    region: Interval,
    genes: Sequence[GeneModel],
    *,
    smooth: int = 1,
    title: str = "",
) -> Figure:
    """Draw a panel for each track, and below them the genes: boxes are exons, arrows show the strand.

    Args:
        tracks: by the label of its axis, a value per base of the region or per bin: [L] or [bins], NaN where
            unknown; bins are of equal size and cover the region.
        region: what the tracks cover.
        genes: `dnamamba.data.gene_models.gene_models` reads them from a file.
        smooth: bases whose mean is drawn at each place; 1: every value.
        title: above the picture.

    Raises:
        UserError: a track has more values than the region has bases, or none.
    """
    lanes = _lanes(genes, region)
    rows = 1 + max(lanes, default=0)
    heights = [1.6] * len(tracks) + [0.35 + 0.3 * rows]
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.7), layout="constrained", facecolor=SURFACE)
    *panels, below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (label, values) in zip(panels, tracks.items(), strict=True):
        _track(axes, np.asarray(values, dtype=np.float64), region, smooth, label)
    for gene, lane in zip(genes, lanes, strict=True):
        _gene(below, gene, lane, region)
    below.set(yticks=[], ylim=(rows - 0.4, -0.75), xlim=(region.start + 1, region.end))
    below.xaxis.set_major_formatter("{x:,.0f}")
    below.set_xlabel(f"position on {drawable(region.name, 40)}", color=MUTED)
    for axes in (*panels, below):
        axes.set_facecolor(SURFACE)
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=MUTED, length=0)
    figure.axes[0].set_title(title, loc="left", fontsize=10, color=TEXT)
    return figure


def smoothed_track(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean of the known values in a window around each place, of which the ends have less.

    >>> smoothed_track(np.array([1.0, 2.0, np.nan, 4.0]), 3).tolist()
    [1.5, 1.5, 3.0, 4.0]

    Args:
        values: [n]; NaN where unknown.
        width: of the window, in values.
    """
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    places = np.arange(values.size)
    first = np.maximum(places - (width - 1) // 2, 0)
    last = np.minimum(places + width // 2 + 1, values.size)
    number = counts[last] - counts[first]
    return np.where(number > 0, (sums[last] - sums[first]) / np.maximum(number, 1), np.nan)


def _track(axes: Axes, values: NDArray[np.float64], region: Interval, smooth: int, label: str) -> None:
    if values.ndim != 1 or not 1 <= values.size <= region.length:
        raise UserError(
            f"tracks: expected a value for each of {region.length:,} bases, or for each bin (got "
            f"{list(values.shape)}); cut it to the region"
        )
    size = region.length / values.size
    drawn = smoothed_track(values, max(1, round(smooth / size)))
    middles = region.start + 0.5 + (np.arange(values.size) + 0.5) * size  # counted from 1, as the axis is
    axes.plot(middles, drawn, color=HELD_OUT, linewidth=1.2)
    axes.set_ylabel(drawable(label, 40), color=MUTED, fontsize=9)
    axes.grid(color=GRID, linewidth=0.8)


def _lanes(genes: Sequence[GeneModel], region: Interval) -> list[int]:
    """Return a lane for each gene, the first in which neither gene nor name meets another's."""
    ends: list[float] = []
    lanes = []
    for gene in genes:
        start = max(gene.start, region.start)
        name = len(gene.name) * _LETTER * region.length
        lane = next((i for i, end in enumerate(ends) if end < start), len(ends))
        ends[lane : lane + 1] = [max(gene.end, start + name) + 0.01 * region.length]
        lanes.append(lane)
    return lanes


def _gene(axes: Axes, gene: GeneModel, lane: int, region: Interval) -> None:
    color = TRAINING if gene.strand == "-" else HELD_OUT
    start, end = max(gene.start, region.start), min(gene.end, region.end)
    axes.plot([start + 0.5, end + 0.5], [lane, lane], color=color, linewidth=1)
    axes.broken_barh(
        [(first + 0.5, last - first) for first, last in gene.parts], (lane - 0.16, 0.32), color=color
    )
    arrow = {"+": "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}", "-": "\N{BLACK LEFT-POINTING SMALL TRIANGLE}"}
    text = f"{drawable(gene.name, 24)} {arrow.get(gene.strand, '')}".strip()
    axes.annotate(text, (start + 0.5, lane - 0.2), fontsize=7, color=MUTED, va="bottom", annotation_clip=True)
