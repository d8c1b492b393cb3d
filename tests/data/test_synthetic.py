"""Synthetic tasks: what each asks, its answers, and that an example is a function of its number alone."""

import numpy as np
import pytest

from dnamamba.data.synthetic import InductionHeads, SelectiveCopying, Task

COPYING, HEADS = SelectiveCopying(40, 5, 8), InductionHeads(40, 8)
EVERY = np.arange(400)


def test_copied_symbols_lie_among_noise_in_order() -> None:
    tokens, answers = COPYING.draw(0, "train", EVERY)
    assert (tokens[:, -5:] == 7).all()
    for row, answer in zip(tokens[:, :-5], answers, strict=True):
        assert row[row != 0].tolist() == answer.tolist()
    assert set(answers.flat) == {1, 2, 3, 4, 5, 6}


def test_marker_comes_twice_and_answer_follows_first() -> None:
    tokens, answers = HEADS.draw(0, "train", EVERY)
    for row, answer in zip(tokens, answers, strict=True):
        first, last = np.flatnonzero(row == 7)
        assert (last, row[first + 1]) == (39, answer[0])
    assert set(answers.flat) == {0, 1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize(("task", "places"), [(COPYING, 35), (HEADS, 38)])
def test_places_are_drawn_uniformly(task: Task, places: int) -> None:
    """Each place as often as another: of 400 draws, within five standard deviations."""
    tokens, answers = task.draw(1, "train", EVERY)
    hit = tokens[:, :places] == 7 if task is HEADS else tokens[:, :places] != 0
    share = answers.shape[1] / places
    spread = (400 * share * (1 - share)) ** 0.5
    assert np.abs(hit.sum(0) - 400 * share).max() < 5 * spread


@pytest.mark.parametrize("task", [COPYING, HEADS])
def test_example_depends_on_its_number_alone(task: Task) -> None:
    whole, some = task.draw(3, "valid", EVERY), task.draw(3, "valid", np.array([7, 399, 8]))
    for ours, theirs in zip(some, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs[[7, 399, 8]])


@pytest.mark.parametrize("task", [COPYING, HEADS])
def test_splits_and_seeds_share_no_example(task: Task) -> None:
    drawn = [
        {row.tobytes() for row in task.draw(seed, split, EVERY).tokens}
        for seed, split in ((0, "train"), (1, "train"), (0, "valid"), (0, "test"))
    ]
    assert [len(rows) for rows in drawn] == [400] * 4
    assert len(set().union(*drawn)) == 1600


def test_long_sequences_are_those_of_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = HEADS.draw(0, "test", EVERY).tokens
    monkeypatch.setattr("dnamamba.data.synthetic._AT_A_TIME", 100)
    np.testing.assert_array_equal(HEADS.draw(0, "test", EVERY).tokens, whole)
