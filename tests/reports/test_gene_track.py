"""A track above genes: places, smoothing and boxes by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dnamamba.data.gene_models import GeneModel
from dnamamba.data.intervals import Interval
from dnamamba.errors import UserError
from dnamamba.reports.gene_track import gene_track, smoothed_track

REGION = Interval("chr1", 100, 200)
GENES = [
    GeneModel("one", 90, 150, "+", ((110, 120), (130, 140))),
    GeneModel("two", 120, 130, "-", ((120, 130),)),
    GeneModel("three", 170, 190, ".", ((170, 190),)),
]


def test_bases_stand_at_their_positions_from_one() -> None:
    figure = gene_track({"x": np.arange(100)}, REGION, [])
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == list(range(101, 201))
    assert line.get_ydata().tolist() == list(range(100))


def test_bins_stand_in_their_middles() -> None:
    figure = gene_track({"x": [1, 2, 3, 4]}, REGION, [])
    assert figure.axes[0].lines[0].get_xdata().tolist() == [113.0, 138.0, 163.0, 188.0]


def test_boxes_are_exons_and_overlapping_genes_have_lanes() -> None:
    below = gene_track({"x": [1.0]}, REGION, GENES).axes[-1]
    boxes = [[tuple(path.get_extents().intervalx) for path in one.get_paths()] for one in below.collections]
    assert boxes == [[(110.5, 120.5), (130.5, 140.5)], [(120.5, 130.5)], [(170.5, 190.5)]]
    assert [line.get_ydata()[0] for line in below.lines] == [0, 1, 0]
    names = [text.get_text() for text in below.texts]
    assert [name.split(" ")[0] for name in names] == ["one", "two", "three"]
    assert len(names[2].split()) == 1  # without a strand


def test_smoothing_leaves_out_what_is_unknown() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0, 7.0])
    expected = [np.nanmean(values[max(0, i - 1) : i + 2]) for i in range(5)]
    assert_allclose(smoothed_track(values, 3), expected)
    assert np.isnan(smoothed_track(np.array([np.nan, np.nan, 1.0]), 1)[:2]).all()


@pytest.mark.parametrize("values", [np.zeros(101), np.zeros(0), np.zeros((2, 2))])
def test_track_that_does_not_fit_its_region_is_refused(values: np.ndarray) -> None:
    with pytest.raises(
        UserError, match=r"^tracks: expected a value for each of 100 bases, .*; cut it to the"
    ):
        gene_track({"x": values}, REGION, [])
