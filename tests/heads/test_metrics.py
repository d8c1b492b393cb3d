"""Metrics against their definitions, in exact fractions where a float64 could be off itself."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from dnamamba.heads.metrics import (
    confusion_counts,
    f1,
    log_odds,
    log_odds_of,
    matthews,
    pearson,
    r_squared,
    ranking,
    ranks,
    rmse,
    spearman,
)
from dnamamba.models import DecoderConfig

ORDERS = list(itertools.permutations((1.3, 2.7, -4.0, 3.3)))


def numbers(seed: int, size: int, *, center: float = 0.0, spread: float = 1.0) -> Tensor:
    drawn = np.random.default_rng(seed).normal(center, spread, size)
    return torch.from_numpy(drawn)


def exact_r_squared(predicted: Tensor, truth: Tensor) -> Fraction:
    p, y = ([Fraction(value) for value in values.tolist()] for values in (predicted, truth))
    mean = sum(y) / len(y)
    missed = sum((a - b) ** 2 for a, b in zip(p, y, strict=True))
    return 1 - missed / sum((b - mean) ** 2 for b in y)


@pytest.mark.parametrize("center", [0.0, 1e4, -1e4, 1e7, 1e10])
def test_r_squared_is_exact_far_from_zero(center: float) -> None:
    """float32 has a step of 0.001 at 10,000, and of 1,024 at 1e10; the spread is 0.7."""
    truth = numbers(0, 300, center=center, spread=0.7)
    predicted = truth + numbers(1, 300, spread=0.3)
    assert r_squared(predicted, truth) == pytest.approx(float(exact_r_squared(predicted, truth)), abs=1e-9)
    # The test fails if the metric is computed in float32.
    if center:
        rounded = exact_r_squared(predicted.float(), truth.float()) if abs(center) < 1e7 else Fraction(0)
        assert abs(float(rounded) - r_squared(predicted, truth)) > 1e-7


@pytest.mark.parametrize("center", [0.0, 1e4, 1e10])
def test_a_correlation_is_exact_far_from_zero(center: float) -> None:
    truth = numbers(0, 200, center=center, spread=0.7)
    predicted = truth + numbers(1, 200, spread=0.3)
    p, y = ([Fraction(value) for value in values.tolist()] for values in (predicted, truth))
    p, y = ([value - sum(values) / len(values) for value in values] for values in (p, y))
    product = sum(a * b for a, b in zip(p, y, strict=True))
    squared = product**2 / (sum(a * a for a in p) * sum(b * b for b in y))
    assert pearson(predicted, truth) == pytest.approx(math.sqrt(squared), abs=1e-12)
    assert pearson(-predicted, truth) == pytest.approx(-math.sqrt(squared), abs=1e-12)


def test_metrics_of_numbers_by_hand() -> None:
    truth = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
    predicted = torch.tensor([1.5, 2.5, 2.0, 9.0, 12.0], dtype=torch.float64)
    assert spearman(predicted, truth) == pytest.approx(0.9, abs=1e-15)  # one pair of neighbours is swapped
    assert rmse(predicted, truth) == pytest.approx(math.sqrt(21.5 / 5), abs=1e-15)
    assert r_squared(predicted, truth) == pytest.approx(1 - 21.5 / 148.8, abs=1e-15)
    assert r_squared(truth, truth) == pearson(truth, truth) == 1.0


def test_equal_numbers_share_the_mean_of_their_ranks() -> None:
    values = torch.tensor([3.0, 1.0, 3.0, 2.0, 3.0, 1.0], dtype=torch.float64)
    assert ranks(values).tolist() == [5.0, 1.5, 5.0, 3.0, 5.0, 1.5]


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e150])
def test_numbers_of_any_size_correlate(scale: float) -> None:
    truth = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64) * scale
    predicted = torch.tensor([1.0, 3.0, 4.0], dtype=torch.float64) * scale
    assert pearson(predicted, truth) == pytest.approx(13 / 14, abs=1e-15)
    assert r_squared(predicted, truth) == pytest.approx(11 / 14, abs=1e-15)


@pytest.mark.parametrize("truth", [[0.1, 0.1, 0.1], [5.0]])
def test_what_does_not_vary_has_no_correlation(truth: list[float]) -> None:
    """The mean of three 0.1 is not 0.1 in float64: a variance above 0 would be rounding alone."""
    y = torch.tensor(truth, dtype=torch.float64)
    p = torch.arange(len(truth)).double()
    assert all(math.isnan(metric(p, y)) for metric in (pearson, spearman, r_squared))
    assert rmse(p, y) == pytest.approx(np.sqrt(np.mean((p.numpy() - y.numpy()) ** 2)))
    assert math.isnan(pearson(y, p))
    assert math.isnan(spearman(y, p))


def areas_by_definition(scores: Tensor, true: Tensor) -> tuple[float, float]:
    """Pair by pair, and the precision at the threshold of each true example."""
    yes, no = scores[true].tolist(), scores[~true].tolist()
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in yes for n in no]
    precisions = [
        sum(other >= one for other in yes) / sum(other >= one for other in scores.tolist()) for one in yes
    ]
    return float(np.mean(pairs)), float(np.mean(precisions))


@pytest.mark.parametrize("values", [2, 5, 10**9])
@pytest.mark.parametrize("seed", range(8))
def test_areas_equal_their_definition_with_and_without_ties(seed: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 60))
    scores = torch.from_numpy(rng.integers(0, values, size).astype(float))
    true = torch.from_numpy(rng.random(size) < 0.4)
    true[0], true[-1] = True, False
    assert ranking(scores, true) == pytest.approx(areas_by_definition(scores, true), abs=1e-14)


def test_areas_by_hand() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5], dtype=torch.float64)
    auroc, auprc = ranking(scores, torch.tensor([True, False, True, True, False]))
    assert auroc == pytest.approx(4 / 6, abs=1e-15)
    assert auprc == pytest.approx((1 + 2 / 3 + 3 / 4) / 3, abs=1e-15)
    auroc, auprc = ranking(scores, torch.ones(5, dtype=torch.bool))
    assert math.isnan(auroc)
    assert auprc == 1.0
    assert all(math.isnan(area) for area in ranking(scores, torch.zeros(5, dtype=torch.bool)))


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_log_odds_equal_those_of_the_probabilities(classes: int, scale: float) -> None:
    logits = scale * numbers(classes, 40 * classes).reshape(40, classes)
    weights = [[Fraction(math.exp(z - max(row))) for z in row] for row in logits.tolist()]
    expected = [[math.log(w / (sum(row) - w)) for w in row] for row in weights]
    truth = torch.tensor(expected, dtype=torch.float64)
    assert torch.allclose(log_odds(logits), truth, rtol=1e-12, atol=1e-12)
    one_by_one = torch.stack([log_odds_of(logits, number) for number in range(classes)], -1)
    assert torch.allclose(one_by_one, truth, rtol=1e-12, atol=1e-12)


def test_log_odds_tell_apart_what_probabilities_do_not() -> None:
    logits = torch.tensor([[40.0, 0.0, -1.0], [800.0, 0.0, 0.0], [900.0, 0.0, 0.0]], dtype=torch.float64)
    assert logits.softmax(-1)[:, 0].tolist() == [1.0, 1.0, 1.0]
    assert log_odds(logits)[:, 0].tolist() == pytest.approx(
        [40 - math.log(1 + math.exp(-1)), 800 - math.log(2), 900 - math.log(2)], rel=1e-15
    )
    # The same difference is the same score, wherever the logits are.
    pairs = torch.tensor([[1.0, 3.0], [0.5, 2.5], [-7.0, -5.0], [3.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    assert log_odds(pairs).tolist() == [[-2.0, 2.0]] * 3 + [[0.0, 0.0]] * 2


def test_counts_and_f1_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 3])
    predicted = torch.tensor([0, 0, 1, 1, 2, 3])
    counts = confusion_counts(predicted, labels, 5)
    assert counts.tolist() == [[2, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0] * 5, [0, 0, 0, 1, 0], [0] * 5]
    found = f1(counts).tolist()
    assert [found[0], found[1], found[3]] == pytest.approx([4 / 5, 2 / 4, 1.0], abs=1e-15)
    # Predicted or not, no example is of these.
    assert math.isnan(found[2])
    assert math.isnan(found[4])


@pytest.mark.parametrize("classes", [2, 4])
def test_matthews_is_the_correlation_of_indicators(classes: int) -> None:
    """R_K = cov(X, Y) / sqrt(cov(X, X) cov(Y, Y)), covariances summed over the classes' indicators."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, classes, 50)
    predicted = np.where(rng.random(50) < 0.5, labels, rng.integers(0, classes, 50))
    x, y = np.eye(classes)[predicted], np.eye(classes)[labels]
    x, y = x - x.mean(0), y - y.mean(0)
    expected = (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())
    counts = confusion_counts(torch.from_numpy(predicted), torch.from_numpy(labels), classes)
    assert matthews(counts) == pytest.approx(expected, abs=1e-14)


def test_matthews_at_its_ends() -> None:
    assert matthews(torch.tensor([[3, 0], [0, 2]])) == 1.0
    assert matthews(torch.tensor([[0, 3], [2, 0]])) == -1.0
    assert matthews(torch.tensor([[3, 0], [2, 0]])) == 0.0  # all is predicted to be one class
    assert math.isnan(matthews(torch.tensor([[3, 1], [0, 0]])))  # all is one class
    large = torch.tensor([[10**9, 10**8], [10**8, 10**9]])
    assert matthews(large) == pytest.approx(9 / 11, abs=1e-15)


def test_float32_logits_of_far_targets_are_judged_in_float64() -> None:
    head = DecoderConfig("regression", ("y",), shift=1e6, scale=1e-3).head
    logits = torch.tensor([[-1.0], [0.0], [2.0]])
    targets = 1e6 + 1e-3 * torch.tensor([[-1.0], [1.0], [2.0]], dtype=torch.float64)
    mean = 2 / 3
    r2 = 1 - 1 / sum((value - mean) ** 2 for value in (-1, 1, 2))
    found = head.metrics(logits, targets)
    assert found["r2"] == pytest.approx(r2, abs=1e-6)
    assert found["rmse"] == pytest.approx(1e-3 * math.sqrt(1 / 3), rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_answers_that_are_not_finite_have_no_metrics(kind: str, value: float) -> None:
    labels = ("y",) if kind == "regression" else ("a", "b")
    head = DecoderConfig(kind, labels).head
    logits = torch.zeros(4, len(labels), dtype=torch.float64)
    logits[2, 0] = value
    truth = torch.tensor([0, 1, 0, 1]) if kind == "classification" else torch.eye(4)[:, : len(labels)]
    assert all(math.isnan(found) for found in head.metrics(logits, truth).values())
    assert head.notes(logits, truth) == ["1 answer(s) are not finite: no metric is defined"]


def test_log_odds_of_reordered_logits_are_equal() -> None:
    """Equal scores are one threshold of a ranking: the last bit would make two of them."""
    own = [[*others[:place], 0.1, *others[place:]] for others in ORDERS for place in range(5)]
    places = [row.index(0.1) for row in own]
    odds = log_odds(torch.tensor(own, dtype=torch.float64))
    found = {odds[row, place].item() for row, place in enumerate(places)}
    assert len(found) == 1
    others = sum(math.exp(value - 0.1) for value in ORDERS[0])
    assert found.pop() == pytest.approx(-math.log(others), rel=1e-12)
