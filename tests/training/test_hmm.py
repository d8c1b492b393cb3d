"""The hidden Markov model and the segments, by hand."""

import numpy as np

from dnamamba.heads.segments import Segment, agreement, segments
from dnamamba.training.fits.hmm import fit_hmm, words_of

LABELS = ("none", "CDS1+", "CDS2+", "CDS3+", "CDS1-", "CDS2-", "CDS3-")


def test_words_end_at_their_base() -> None:
    bases = np.array([0, 1, 5, 2, 3, 1], dtype=np.uint8)
    assert words_of(bases, 1).tolist() == [-1, 1, -1, -1, 11, 13]
    assert words_of(bases, 0).tolist() == [0, 1, -1, 2, 3, 1]


def test_counts_skip_bases_that_are_left_out() -> None:
    bases = np.array([0, 0, 1, 3, 3], dtype=np.uint8)
    classes = np.array([0, 0, 255, 1, 1], dtype=np.uint8)
    model = fit_hmm([(bases, classes)], 2, 0)
    np.testing.assert_allclose(model.emission[:, 0], np.array([2.5, 0.5, 0.5, 0.5]) / 4)
    np.testing.assert_allclose(model.transition, np.eye(2))
    # The two can't follow each other: bases of the one kind speak for all.
    found = np.exp(model.log_posteriors(np.array([0, 0, 0, 1], dtype=np.uint8)))
    odds = (2.5 / 0.5) ** 3 * (0.5 / 0.5)
    np.testing.assert_allclose(found[:, 0], odds / (1 + odds), rtol=1e-9)


def test_segments_join_codon_positions_and_know_their_phase() -> None:
    classes = np.array([0, 2, 3, 1, 2, 0, 5, 4, 6, 0], dtype=np.uint8)
    found = segments(classes, LABELS)
    assert found == [Segment(1, 5, "CDS", "+", 2, 2), Segment(6, 9, "CDS", "-", 5, 6)]
    assert [one.phase(LABELS) for one in found] == ["2", "1"]


def test_segment_that_touches_unknown_bases_is_left_out() -> None:
    classes = np.array([1, 2, 255, 0, 1, 2, 3, 0], dtype=np.uint8)
    assert [(one.start, one.end) for one in segments(classes, LABELS)] == [(4, 7)]


def test_agreement_counts_exact_and_half_overlapping_segments() -> None:
    def of(*places: tuple[int, int]) -> list[Segment]:
        return [Segment(start, end, "CDS", "+", 1, 1) for start, end in places]

    true = of((0, 10), (20, 30), (40, 50))
    found = of((0, 10), (22, 30), (45, 60), (70, 80))
    (row,) = agreement([found], [true])
    assert (row["true"], row["called"]) == (3, 4)
    assert row["exact"] == {"precision": 1 / 4, "recall": 1 / 3, "f1": 2 / 7}
    assert row["overlap"] == {"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7}
