"""Intervals of metrics: their width, and draws that miss a class."""

import math

import pytest
import torch

from dnamamba.heads.bootstrap import bootstrap, draw, interval
from dnamamba.models import DecoderConfig


def test_an_interval_covers_what_a_binomial_says() -> None:
    """Of 400 sequences 80 % are right: the interval of the accuracy is +-1.96 sqrt(p(1-p)/n)."""
    head = DecoderConfig("classification", ("a", "b")).head
    labels = torch.arange(400) % 2
    answer = torch.where(torch.arange(400) < 320, labels, 1 - labels)
    logits = torch.nn.functional.one_hot(answer, 2).double()
    found = bootstrap(head, logits, labels, 400)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert found.intervals["accuracy"] == pytest.approx((0.8 - half, 0.8 + half), abs=0.01)
    assert found.incomplete == 0
    assert bootstrap(head, logits, labels, 5) == bootstrap(head, logits, labels, 5)
    assert bootstrap(head, logits, labels, 5) != bootstrap(head, logits, labels, 5, seed=1)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_perfect_classifier_has_no_interval_below_one(classes: int) -> None:
    """2 of 200 are of the last class: a draw in seven misses it, which is not a mistake of the classifier."""
    head = DecoderConfig("classification", ("a", "b", "c")[:classes]).head
    labels = torch.arange(200) % (classes - 1)
    labels[:2] = classes - 1
    logits = 5 * torch.nn.functional.one_hot(labels, classes).double()
    found = bootstrap(head, logits, labels, 300)
    assert found.intervals == dict.fromkeys(head.scores, (1.0, 1.0))
    assert 20 < found.incomplete < 70  # (1 - 2 / 200) ** 200 is 0.134


def test_a_perfect_tagger_has_no_interval_below_one() -> None:
    head = DecoderConfig("multilabel", ("x", "rare")).head
    labels = torch.stack([torch.arange(200) % 2, torch.arange(200) < 2], 1).float()
    found = bootstrap(head, 10 * labels.double() - 5, labels, 300)
    assert found.intervals == dict.fromkeys(head.scores, (1.0, 1.0))
    assert 20 < found.incomplete < 70


def test_what_no_draw_defines_has_no_interval() -> None:
    head = DecoderConfig("regression", ("value",)).head
    found = bootstrap(head, torch.zeros(1, 1).double(), torch.ones(1, 1).double(), 10)
    assert all(math.isnan(edge) for name in ("pearson", "spearman", "r2") for edge in found.intervals[name])
    assert found.intervals["rmse"] == (1.0, 1.0)
    assert found.incomplete == 10


@pytest.mark.parametrize("classes", [2, 4])
def test_draws_together_are_draws_one_by_one(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores with ties, and a class that many draws miss."""
    head = DecoderConfig("classification", ("a", "b", "c", "d")[:classes]).head
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(classes - 1, (60,), generator=generator)
    labels[:2] = classes - 1
    logits = torch.randn(60, classes, generator=generator, dtype=torch.float64).mul(3).round() / 3
    monkeypatch.setattr("dnamamba.heads.bootstrap.AT_ONCE", 60 * 7)
    together = draw(head, logits, labels, 50)
    monkeypatch.setattr(type(head), "resampled", lambda self, *given: None)
    single = draw(head, logits, labels, 50)
    assert 0 < together.incomplete == single.incomplete < 50
    for name in head.scores:
        torch.testing.assert_close(
            together.values[name], single.values[name], rtol=1e-12, atol=0, equal_nan=True
        )
    if classes == 2:
        assert together.values["auroc"].isnan().any()


def test_infinite_logits_leave_out_only_draws_that_have_them() -> None:
    head = DecoderConfig("classification", ("a", "b")).head
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [math.inf, 0.0]], dtype=torch.float64)
    found = draw(head, logits, torch.tensor([0, 1, 0]), 100)
    assert 0 < int(found.values["accuracy"].isnan().sum()) < 100


def test_interval_of_few_sequences_holds_their_own_metric() -> None:
    """Three of each class, ranked the wrong way round: AUPRC is (1/4 + 2/5 + 3/6) / 3, draws exceed it."""
    head = DecoderConfig("classification", ("a", "b")).head
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    logits = torch.stack([torch.arange(6.0), -torch.arange(6.0)], 1).double()
    value = head.metrics(logits, labels)["auprc"]
    assert value == pytest.approx(23 / 60)
    low, high = interval(draw(head, logits, labels, 1000).values["auprc"])
    assert value < low < high
    assert bootstrap(head, logits, labels, 1000).intervals["auprc"] == (value, high)


def test_interval_widens_to_the_metric_only_where_it_must() -> None:
    values = torch.linspace(0, 1, 41, dtype=torch.float64)
    assert interval(values, 0.5) == interval(values) == pytest.approx((0.025, 0.975))
    assert interval(values, 1.25) == pytest.approx((0.025, 1.25))
    assert interval(values, -0.25) == pytest.approx((-0.25, 0.975))
    assert interval(values, math.nan) == interval(values)
    assert all(math.isnan(end) for end in interval(torch.full((3,), math.nan).double(), 0.5))


def test_bootstrap_of_many_classes_takes_little_memory() -> None:
    """A table of all pairs of 400 classes would take 1.3 MB per sequence or draw, 500 in all."""
    classes, drawn = 400, 30
    labels = torch.arange(classes)
    logits = torch.eye(classes)
    logits[0, 1] = 2.0  # one mistake
    head = DecoderConfig("classification", tuple(map(str, range(classes)))).head
    with torch.profiler.profile(profile_memory=True) as seen:
        times = torch.ones(drawn, classes, dtype=torch.float64)
        found = head.resampled(logits, labels, times)
    largest = max(event.cpu_memory_usage for event in seen.events())
    assert largest < 50e6
    assert found is not None
    assert found[0]["accuracy"].tolist() == [1 - 1 / classes] * drawn
    assert found[0]["mcc"][0].item() == pytest.approx(head.metrics(logits, labels)["mcc"], rel=1e-12)
