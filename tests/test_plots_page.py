"""The recipes of docs/plots.md run as they stand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

PAGE = (Path(__file__).parents[1] / "docs" / "plots.md").read_text("utf-8")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the blocks of the page leave, run one after the other."""
    import anndata
    import pandas as pd

    folder = tmp_path_factory.mktemp("plots")
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    rows = pd.DataFrame({"strand": list("+-+-")}, index=list("abcd"))
    anndata.AnnData(vectors, obs=rows).write_h5ad(folder / "my.h5ad")
    found: dict[str, Any] = {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(code, found)
    return found | {"folder": folder}


def test_recipes_write_their_pictures(names: dict[str, Any]) -> None:
    for name in ("map", "track", "logo"):
        assert (names["folder"] / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_map_has_both_strands(names: dict[str, Any]) -> None:
    assert names["vectors"].shape == (len(names["regions"]), 64)


def test_letter_is_as_high_as_its_changes_are_unlikely(names: dict[str, Any]) -> None:
    heights = [patch.get_path().get_extents().height for patch in names["figure"].axes[0].patches]
    assert_allclose(heights, np.abs(names["found"].llr.sum(axis=1) / 3), rtol=1e-6)


def test_coordinates_lie_where_scanpy_looks(names: dict[str, Any]) -> None:
    assert names["data"].obsm["X_pca"].shape == (4, 2)
    assert_allclose(names["data"].obsm["X_pca"].mean(axis=0), [0, 0], atol=1e-6)
