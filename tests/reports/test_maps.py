"""Maps of embeddings: coordinates against another method, and what the picture says."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from numpy.testing import assert_allclose

from dnamamba.errors import UserError
from dnamamba.reports.maps import coordinates, embedding_map

VECTORS = np.random.default_rng(0).normal(size=(20, 5)) @ np.diag([9.0, 3.0, 1.0, 1.0, 0.1])


def test_components_are_those_of_the_correlation_matrix() -> None:
    points, names = coordinates(VECTORS)
    sizes, directions = np.linalg.eigh(np.corrcoef(VECTORS.T))
    scaled = (VECTORS - VECTORS.mean(0)) / VECTORS.std(0)
    for place in (0, 1):
        expected = scaled @ directions[:, -1 - place]
        assert_allclose(np.abs(points[:, place]), np.abs(expected), atol=1e-12)
        assert names[place] == f"component {place + 1} ({100 * sizes[-1 - place] / 5:.0f} % of the variance)"


def test_mirrored_vectors_have_the_same_map() -> None:
    """The sign of a component must not depend on the library that finds it."""
    assert_allclose(coordinates(-VECTORS)[0], coordinates(VECTORS)[0], atol=1e-12)


def test_channel_that_is_constant_changes_nothing() -> None:
    with_constant = np.column_stack([VECTORS, np.full(20, 7.0)])
    assert_allclose(coordinates(with_constant)[0], coordinates(VECTORS)[0], atol=1e-12)


def test_umap_gets_scaled_vectors_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def umap(**options: object) -> SimpleNamespace:
        given.update(options)
        return SimpleNamespace(fit_transform=lambda scaled: scaled[:, :2])

    module = ModuleType("umap")
    module.UMAP = umap  # type: ignore[attr-defined]
    module.__spec__ = SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "umap", module)
    points, names = coordinates(VECTORS, "umap", seed=3)
    assert given == {"n_neighbors": 15, "random_state": 3, "n_jobs": 1}
    assert_allclose(points.std(axis=0), [1, 1])
    assert names == ("UMAP 1", "UMAP 2")


def test_classes_are_named_with_their_numbers() -> None:
    figure = embedding_map(VECTORS, ["b"] * 5 + ["a"] * 15, title="here")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a (15)", "b (5)"]
    points, _ = coordinates(VECTORS)
    drawn = [dots.get_offsets() for dots in axes.collections if isinstance(dots, PathCollection)]
    assert_allclose(np.concatenate(drawn), np.concatenate([points[5:], points[:5]]))
    assert axes.get_title(loc="left") == "here"


def test_numbers_have_a_colour_bar() -> None:
    figure = embedding_map(VECTORS, np.arange(20))
    assert figure.axes[0].get_legend() is None
    assert figure.axes[0].collections[0].get_array().tolist() == list(range(20))


def test_anndata_is_coloured_by_a_column() -> None:
    import pandas as pd

    data = SimpleNamespace(X=VECTORS, obs=pd.DataFrame({"kind": ["x"] * 20}))
    assert len(embedding_map(data, "kind").axes[0].collections[0].get_offsets()) == 20
    with pytest.raises(UserError, match=r"^color: the AnnData has no column 'no' in obs; it has kind$"):
        embedding_map(data, "no")


@pytest.mark.parametrize(
    ("vectors", "options", "said"),
    [
        (VECTORS[:2], {}, r"^vectors: expected \[n, D\] of at least 3 vectors \(got \[2, 5\]\); give more$"),
        (
            np.where(np.arange(20)[:, None] == 3, np.nan, VECTORS),
            {},
            r"^vectors: 1 of 20 are not finite; leave",
        ),
        (VECTORS, {"method": "tsne"}, r"^method: expected one of pca, umap \(got 'tsne'\)$"),
        (VECTORS, {"color": [1, 2]}, r"^color: expected a value for each of 20 vectors \(got 2\)$"),
    ],
)
def test_what_has_no_map_is_refused(vectors: np.ndarray, options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        embedding_map(vectors, **options)
