"""Embeddings as a map: two coordinates per sequence, by principal components or UMAP, and their picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from dnamamba.errors import UserError
from dnamamba.escaping import drawable
from dnamamba.optional import need
from dnamamba.reports.figures import BASELINE, GRID, MUTED, SURFACE, TEXT

METHODS = ("pca", "umap")
# Of Okabe and Ito, who chose them to be told apart by readers of any colour vision; then grey for the rest.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
_NAME = 40


def coordinates(
    vectors: ArrayLike, method: str = "pca", *, seed: int = 0
) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Return two coordinates per vector and the names of the two axes.

    Every channel is first brought to mean 0 and standard deviation 1, since a few channels with large values
    would otherwise be the whole map.

    >>> points, names = coordinates([[0.0, 1.0], [1.0, 3.0], [2.0, 5.0]])
    >>> abs(points[:, 0]).round(3).tolist(), names[0]
    ([1.732, 0.0, 1.732], 'component 1 (100 % of the variance)')

    Args:
        vectors: [n, D].
        method: `pca`, or `umap` (extra `plots`).
        seed: of UMAP.

    Raises:
        UserError: there are too few vectors, one is not finite, or umap-learn is not installed.
    """
    if method not in METHODS:
        raise UserError(f"method: expected one of {', '.join(METHODS)} (got {method!r})")
    found = np.asarray(vectors, dtype=np.float64)
    if found.ndim != 2 or len(found) < 3 or found.shape[1] < 2:
        raise UserError(
            f"vectors: expected [n, D] of at least 3 vectors (got {list(found.shape)}); give more"
        )
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found)).any(axis=1).sum())
        raise UserError(f"vectors: {bad} of {len(found)} are not finite; leave them out: embed missing=drop")
    spread = found.std(axis=0)
    scaled = (found - found.mean(axis=0)) / np.where(spread > 0, spread, 1)
    if method == "umap":
        return _umap(scaled, seed), ("UMAP 1", "UMAP 2")
    left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    share = sizes**2 / max(float((sizes**2).sum()), np.finfo(np.float64).tiny)
    # The sign of a component is arbitrary: the vector that is furthest out lies on its positive side.
    points = left[:, :2] * sizes[:2]
    points *= np.where(points[np.abs(points).argmax(axis=0), [0, 1]] < 0, -1, 1)
    return points, tuple(
        f"component {i + 1} ({share[i]:.0%} of the variance)".replace("%", " %") for i in (0, 1)
    )  # type: ignore[return-value]


def _umap(scaled: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    need("umap", "plots", "method=umap")
    from umap import UMAP

    # One thread: with several, UMAP gives another map each time.
    neighbours = min(15, len(scaled) - 1)
    found = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(scaled)
    return np.asarray(found, dtype=np.float64)


def embedding_map(
    vectors: Any,
    color: Any = None,
    *,
    method: str = "pca",
    seed: int = 0,
    title: str = "",
) -> Figure:
    """Draw embeddings as dots, coloured by a class or by a number.

    Args:
        vectors: [n, D]; or an AnnData, such as `anndata.read_h5ad` returns of a file of `dnamamba embed`.
        color: one class or number per vector; of an AnnData the name of a column of `obs`; None: one colour.
        method, seed: of `coordinates`.
        title: above the picture.

    Raises:
        UserError: as of `coordinates`; or `color` is not a value per vector.

    >>> figure = embedding_map([[0.0, 1.0], [1.0, 3.0], [2.0, 4.0]], ["gene", "gene", "other"])
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['gene (2)', 'other (1)']
    """
    name = color if isinstance(color, str) else ""
    if hasattr(vectors, "obs"):
        if isinstance(color, str):
            if color not in vectors.obs:
                columns = ", ".join(map(str, vectors.obs.columns))
                raise UserError(f"color: the AnnData has no column {color!r} in obs; it has {columns}")
            color = vectors.obs[color].to_numpy()
        vectors = vectors.X
    points, names = coordinates(vectors, method, seed=seed)
    figure = Figure(figsize=(6.4, 5), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    values = np.asarray([""] * len(points) if color is None else color)
    if values.shape != (len(points),):
        raise UserError(f"color: expected a value for each of {len(points)} vectors (got {values.size})")
    if values.dtype.kind in "fiu" and color is not None:
        dots = axes.scatter(points[:, 0], points[:, 1], s=12, c=values, cmap="viridis", linewidths=0)
        bar = figure.colorbar(dots, ax=axes, label=drawable(name, _NAME))
        bar.outline.set_visible(False)
    else:
        _classes(axes, points, values.astype(str))
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.set_title(title, loc="left", fontsize=10, color=TEXT)
    axes.set_facecolor(SURFACE)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, length=0)
    return figure


def _classes(axes: Axes, points: NDArray[np.float64], values: Sequence[str] | NDArray[np.str_]) -> None:
    """Draw a colour per class, the most frequent first: it lies below the rarer ones."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    for place, number in enumerate(order):
        chosen = points[np.asarray(values) == found[number]]
        color = COLORS[place] if place < len(COLORS) else BASELINE
        label = f"{drawable(str(found[number]), _NAME)} ({counts[number]:,})"
        axes.scatter(chosen[:, 0], chosen[:, 1], s=12, alpha=0.7, color=color, linewidths=0, label=label)
    if len(found) > 1:
        axes.legend(frameon=False, labelcolor=TEXT, fontsize=9)
