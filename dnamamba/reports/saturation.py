"""Saturation mutagenesis as a picture: a sequence logo and a map of all changes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, Bbox
from numpy.typing import NDArray

from dnamamba.escaping import drawable
from dnamamba.reports.figures import BASELINE, MUTED, SURFACE, TEXT

BASE_COLORS = {"A": "#2f9e44", "C": "#1c5cab", "G": "#d98a00", "T": "#c92a2a"}


def saturation_figure(
    letters: str, llr: NDArray[np.float64], name: str, first: int, what: str = "LLR (nats)"
) -> Figure:
    """Plot the effects of a region's changes: the reference as letters, all changes as a map below.

    A letter is as high as the mean log-likelihood ratio of its three replacements is low: upright, the model
    expects this base; below the line, it would sooner have another.

    Args:
        letters: reference bases.
        llr: [length, 4], of A, C, G, T in the place of each, nats; NaN where unknown.
        name: of the record.
        first: position of the first letter, from 1.
        what: the values are, with their unit.
    """
    heights = -np.nan_to_num(llr.sum(axis=1) / 3)
    figure, logo, changes, bar = logo_and_map(letters, heights, llr, name, first, least=1e-6)
    logo.set_ylabel(f"- mean {what}", color=MUTED)
    logo.set_title(
        f"{name}:{first:,}-{first + len(letters) - 1:,}, every single-base change",
        loc="left",
        fontsize=10,
        color=TEXT,
    )
    changes.set_ylabel("changed to", color=MUTED)
    known = [i for i, letter in enumerate(letters) if letter in BASE_COLORS]
    changes.scatter(
        [first + i for i in known],
        ["ACGT".index(letters[i]) for i in known],
        s=6,
        color=BASELINE,
        linewidths=0,
    )
    bar.set_label(what, color=MUTED)
    return figure


def logo_and_map(
    letters: str,
    heights: NDArray[np.float64],
    values: NDArray[np.float64],
    name: str,
    first: int,
    *,
    least: float,
) -> tuple[Figure, Axes, Axes, Colorbar]:
    """Draw a logo above a map of a number for each of A, C, G, T at every position.

    Args:
        letters: reference bases.
        heights: [length], of the letters.
        values: [length, 4]; NaN where unknown.
        name: of the record.
        first: position of the first letter, from 1.
        least: of both scales, where all is 0.

    Returns:
        The figure, the axes of logo and map, and the map's color bar; the y axes have no labels yet.
    """
    length = len(letters)
    width = min(max(8.0, 0.11 * length), 60.0)
    figure = Figure(figsize=(width, 4.2), layout="constrained", facecolor=SURFACE)
    logo, changes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for position, letter, height in zip(range(first, first + length), letters, heights, strict=True):
        if letter in BASE_COLORS and height:
            draw_letter(logo, letter, float(position), float(height))
    logo.set_facecolor(SURFACE)
    logo.axhline(0, color=MUTED, linewidth=0.8)
    margin = 0.05 * max(np.ptp([0, *heights]), least)
    logo.set_ylim(min(0, heights.min()) - margin, max(0, heights.max()) + margin)
    limit = max(float(np.nan_to_num(np.abs(values)).max()), least)
    image = changes.imshow(
        values.T,
        aspect="auto",
        cmap="RdBu",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        extent=(first - 0.5, first + length - 0.5, 3.5, -0.5),
    )
    changes.set_yticks(range(4), list("ACGT"))
    changes.ticklabel_format(axis="x", useOffset=False, style="plain")
    changes.set_xlabel(f"position on {drawable(name, 40)}", color=MUTED)
    bar = figure.colorbar(image, ax=changes, pad=0.01, fraction=0.05 * 8 / width)
    bar.outline.set_visible(False)
    for axes in (logo, changes, bar.ax):
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=MUTED, length=0)
    return figure, logo, changes, bar


def draw_letter(axes: Axes, letter: str, position: float, height: float) -> None:
    """Draw a letter that fills its place from 0 to `height`, upside down below the line.

    Args:
        axes: to draw on.
        letter: A, C, G or T.
        position: its middle on the x axis.
        height: in the unit of the y axis; negative: below the line.
    """
    path = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    place = Bbox.from_extents(position - 0.46, 0, position + 0.46, height)
    fit = Affine2D().translate(-box.x0, -box.y0).scale(place.width / box.width, place.height / box.height)
    fitted = path.transformed(fit.translate(place.x0, place.y0))
    axes.add_patch(PathPatch(fitted, facecolor=BASE_COLORS[letter], linewidth=0))
