"""Losses and metrics of numbers per bin, by hand and by torch's own distributions, in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dnamamba import UserError
from dnamamba.heads.signal import Signal
from dnamamba.models import PositionConfig
from dnamamba.objectives.positions import PositionsScored
from dnamamba.reports.positions import resample

ASKED = PositionConfig("signal", ("a", "b"), (0, 1), 8, bin=2, loss="poisson", means=(2.0, 0.5))
NAN = math.nan


def data(outputs: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, outputs, dtype=torch.float64)
    targets = torch.poisson(torch.full((3, 4, 2), 3.0, dtype=torch.float64))
    targets[0, 1, 0] = targets[2, :, 1] = NAN
    return logits, targets


def test_poisson_loss_is_that_of_torch_without_missing_bins() -> None:
    logits, targets = data()
    mean = logits.exp() * torch.tensor([2.0, 0.5])
    there = ~targets.isnan()
    full = -torch.distributions.Poisson(mean[there]).log_prob(targets[there]) - torch.lgamma(
        targets[there] + 1
    )
    found = ASKED.head.loss_sum(logits, targets, None)
    torch.testing.assert_close(found, full.sum(), rtol=1e-12, atol=1e-12)
    assert int(ASKED.head.number(targets)) == int(there.sum())


def test_negative_binomial_loss_is_that_of_torch() -> None:
    logits, targets = data(4)
    head = replace(ASKED, loss="negative_binomial").head
    assert head.outputs == 4
    mean = logits[..., :2].exp() * torch.tensor([2.0, 0.5])
    size = 1 / (torch.nn.functional.softplus(logits[..., 2:]) + 1e-4)
    there = ~targets.isnan()
    theirs = torch.distributions.NegativeBinomial(size, probs=mean / (mean + size))
    expected = -theirs.log_prob(targets.nan_to_num(0.0))[there].sum()
    torch.testing.assert_close(head.loss_sum(logits, targets, None), expected, rtol=1e-9, atol=1e-9)


def test_multinomial_with_weight_one_is_poisson() -> None:
    """A Poisson's bins given their total are a multinomial: the two losses differ by nothing."""
    logits, targets = data()
    shape = replace(ASKED, loss="multinomial").head
    expected = ASKED.head.loss_sum(logits, targets, None)
    torch.testing.assert_close(shape.loss_sum(logits, targets, None), expected, rtol=1e-10, atol=1e-10)
    moved = replace(ASKED, loss="multinomial", count_weight=1e-9).head
    torch.testing.assert_close(
        moved.loss_sum(logits, targets, None), moved.loss_sum(logits + 3, targets, None), rtol=1e-6, atol=1e-6
    )
    assert not shape.divisible


@pytest.mark.parametrize("scaling", ["none", "log", "sqrt"])
@pytest.mark.parametrize("loss", ["poisson", "mse"])
def test_prediction_is_in_the_unit_of_the_signal(scaling: str, loss: str) -> None:
    """At an output of zero a track's answer is its mean, scaled back."""
    head = replace(ASKED, scaling=scaling, loss=loss).head
    assert isinstance(head, Signal)
    found = head.predict(torch.zeros(1, 2, dtype=torch.float64))[0]
    torch.testing.assert_close(head.scaled(found), torch.tensor([2.0, 0.5], dtype=torch.float64))


def test_correlations_are_those_of_numpy_across_measured_bins() -> None:
    logits, targets = data()
    flat, truth = logits.flatten(0, 1), targets.flatten(0, 1)
    # A large offset: in float32 these correlations lose their digits.
    head = replace(ASKED, loss="mse", means=(10_000.0, 10_000.0)).head
    rows = head.per_label(flat, truth + 10_000)
    for place, row in enumerate(rows):
        there = ~np.isnan(truth[:, place].numpy())
        p, y = flat[:, place].numpy()[there], truth[:, place].numpy()[there]
        assert row["pearson"] == pytest.approx(np.corrcoef(p, y)[0, 1], abs=1e-9)
        assert row["bins"] == there.sum()
        assert row["rmse"] == pytest.approx(math.sqrt(np.mean((p - y) ** 2)), rel=1e-9)
    sums = head.statistics(flat, truth + 10_000, [len(flat)])
    whole = head.metrics(flat, truth + 10_000)
    assert head.from_statistics(sums)["pearson"].item() == pytest.approx(whole["pearson"], abs=1e-9)


@pytest.mark.parametrize("constant", ["signal", "prediction"])
def test_draws_leave_out_track_that_does_not_vary(constant: str) -> None:
    """Sums of equal numbers leave a variance of rounding, which has a correlation with anything."""
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 500, 2, dtype=torch.float64)
    (targets if constant == "signal" else logits)[:, 1] = 0.7
    head = replace(ASKED, loss="mse", means=(0.1, 0.3)).head
    scored = PositionsScored([0, 1], [300, 200], logits, targets)
    draws = resample(head, scored, 20)["pearson"]
    alone = resample(
        replace(ASKED, labels=("a",), complement=(0,), loss="mse", means=(0.1,)).head,
        scored._replace(logits=logits[:, :1], targets=targets[:, :1]),
        20,
    )["pearson"]
    torch.testing.assert_close(draws, alone, rtol=1e-12, atol=1e-12)
    (targets if constant == "signal" else logits)[:, 0] = 3.3
    assert resample(head, scored, 20)["pearson"].isnan().all()


def test_draws_are_exact_far_from_the_training_mean() -> None:
    torch.manual_seed(0)
    targets = 1e6 + torch.randn(400, 2, dtype=torch.float64)
    logits = targets + torch.randn(400, 2)
    head = replace(ASKED, loss="mse", means=(0.0, 0.0)).head
    sums = head.statistics(logits, targets, [100] * 4).sum(0, keepdim=True)
    expected = head.metrics(logits, targets)["pearson"]
    assert head.from_statistics(sums)["pearson"].item() == pytest.approx(expected, abs=1e-12)


def test_unmeasured_track_has_no_metric_and_no_gradient() -> None:
    logits = torch.zeros(5, 2, requires_grad=True)
    targets = torch.full((5, 2), NAN)
    ASKED.head.loss_sum(logits, targets, None).backward()
    assert torch.equal(logits.grad, torch.zeros(5, 2))
    assert all(math.isnan(value) for value in ASKED.head.metrics(logits.detach(), targets).values())


def test_weights_are_one_per_track() -> None:
    logits, targets = data()
    weights = ASKED.head.class_weights({"a": 1, "b": 3}, [], 0)
    assert weights is not None
    only = [
        ASKED.head.loss_sum(logits, targets.masked_fill(torch.tensor([i != 0, i != 1]), NAN), None)
        for i in (0, 1)
    ]
    found = ASKED.head.loss_sum(logits, targets, weights)
    torch.testing.assert_close(found, only[0] + 3 * only[1], rtol=1e-12, atol=1e-12)
    with pytest.raises(UserError, match="a positive weight for each of a, b"):
        ASKED.head.class_weights("balanced", [], 0)
