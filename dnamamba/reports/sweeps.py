"""The picture of a sweep: the number of each job, a line each."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from dnamamba.reports.figures import GRID, HELD_OUT, MUTED, SURFACE, TEXT

DRAWN = 40  # jobs of a picture; of more, the best


def sweep_figure(metric: str, values: Sequence[float], labels: Sequence[str]) -> Figure:
    """Draw the jobs of a sweep, the first at the top.

    Args:
        metric: what the numbers are, and which are better.
        values: of each job, from best to worst; what is not finite is left out.
        labels: what was set for each job.
    """
    finite = [(value, label) for value, label in zip(values, labels, strict=True) if math.isfinite(value)]
    drawn = finite[:DRAWN]
    figure = Figure(figsize=(8, 1.4 + 0.3 * max(1, len(drawn))), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    axes.set_facecolor(SURFACE)
    axes.plot([value for value, _ in drawn], range(len(drawn)), "o", color=HELD_OUT)
    axes.set_yticks(range(len(drawn)), [label for _, label in drawn])
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_xlabel(metric, color=MUTED)
    hidden = f", the best {DRAWN}" if len(finite) > DRAWN else ""
    axes.set_title(f"{len(values)} jobs{hidden}", loc="left", fontsize=10, color=TEXT)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, length=0)
    return figure
