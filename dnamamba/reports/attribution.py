"""Attributions and dependencies as pictures."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dnamamba.escaping import drawable
from dnamamba.reports.figures import MUTED, SURFACE, TEXT
from dnamamba.reports.saturation import BASE_COLORS, logo_and_map

_NAMED = 120  # bases of a map whose letters can be read


def attribution_figure(
    letters: str,
    values: NDArray[np.float64],
    contribution: NDArray[np.float64],
    name: str,
    first: int,
    what: str,
) -> Figure:
    """Plot the bases' contributions as a logo, and below it the values of all four bases as a map.

    Args:
        letters: reference bases.
        values: [length, 4], of A, C, G, T; NaN where unknown.
        contribution: [length], the height of each letter; NaN where unknown.
        name: of the record.
        first: position of the first letter, from 1.
        what: the values are, with their unit; a second line says of which label and model.
    """
    heights = np.nan_to_num(contribution)
    figure, logo, changes, _ = logo_and_map(letters, heights, values, name, first, least=1e-9)
    logo.set_ylabel("contribution", color=MUTED)
    end = first + len(letters) - 1
    logo.set_title(f"{name}:{first:,}-{end:,}, {what}", loc="left", fontsize=10, color=TEXT)
    changes.set_ylabel("base", color=MUTED)
    return figure


def dependency_figure(
    letters: str, found: NDArray[np.float64], name: str, first: int, of: str = ""
) -> Figure:
    """Plot the effect of each base (row) on each other one (column).

    Args:
        letters: bases of the region.
        found: [length, length], bits of log odds; NaN where nothing is known.
        name: of the record.
        first: position of the first letter, from 1.
        of: whose dependencies they are, the title's second line.
    """
    length = len(letters)
    figure = Figure(figsize=(8.4, 7.4), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    extent = (first - 0.5, first + length - 0.5, first + length - 0.5, first - 0.5)
    # A few close pairs outshine all others.
    known = found[np.isfinite(found)]
    top = max(float(np.quantile(known, 0.995)) if known.size else 0.0, 1e-9)
    image = axes.imshow(found, cmap="Blues", vmin=0, vmax=top, interpolation="nearest", extent=extent)
    axes.set_facecolor(SURFACE)
    axes.set_title(
        f"{name}:{first:,}-{first + length - 1:,}, dependencies between bases" + f"\n{of}" * bool(of),
        loc="left",
        fontsize=10,
        color=TEXT,
    )
    axes.set_xlabel(f"expected base, position on {drawable(name, 40)}", color=MUTED)
    axes.set_ylabel("replaced base", color=MUTED)
    axes.ticklabel_format(useOffset=False, style="plain")
    if length <= _NAMED:
        size = min(8.0, 420 / length)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(first, first + length), list(letters))
            for label, letter in zip(axis.get_ticklabels(), letters, strict=True):
                label.set(color=BASE_COLORS.get(letter, MUTED), fontsize=size, fontweight="bold")
        axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.01, fraction=0.04, extend="max")
    bar.set_label("largest change of log2 odds", color=MUTED)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, length=0)
    return figure
