"""Linear models as baselines of a fine-tuning: at the minimum, by the conditions that hold there alone."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dnamamba.heads.base import Head
from dnamamba.models import DecoderConfig
from dnamamba.training.fits.context import fit_context
from dnamamba.training.fits.linear import PENALTIES, fit_linear


def question(kind: str, labels: int) -> Head:
    return DecoderConfig(kind, tuple("abcdef"[:labels])).head


def losses(head: Head):
    return lambda logits, labels: head.loss(logits, labels, None, 0.0)


def drawn(number: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(number, size, generator=torch.Generator().manual_seed(seed))


def test_ridge_is_the_closed_form() -> None:
    features = drawn(200, 6) * torch.tensor([1.0, 5, 0.1, 1, 2, 1]) + 3
    labels = (features @ drawn(6, 1, 1)).double() + drawn(200, 1, 2)
    model, _ = fit_linear(
        (features, labels), (features, labels), 1, losses(question("regression", 1)), (0.3,)
    )
    # mean (y - z)^2 + 0.3 / 2 |w|^2 of standardised features, in float64.
    x = features.double()
    x = (x - x.mean(0)) / x.std(0, correction=0)
    y = labels - labels.mean()
    weight = torch.linalg.solve(x.T @ x / 200 + 0.15 * torch.eye(6), x.T @ y / 200)
    expected = x @ weight + labels.mean()
    torch.testing.assert_close(model.logits(features), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("kind", "outputs"), [("classification", 3), ("multilabel", 2)])
def test_the_gradient_vanishes_at_the_logistic_fit(kind: str, outputs: int) -> None:
    head = question(kind, outputs)
    features = drawn(300, 8)
    noisy = features @ drawn(8, outputs, 1) + 2 * drawn(300, outputs, 2)
    labels = noisy.argmax(1) if kind == "classification" else (noisy > 0).float()
    model, _ = fit_linear((features, labels), (features, labels), outputs, losses(head), (0.1,))
    x = (features.double() - model.mean) * model.rate
    weight, bias = model.weight.double().requires_grad_(), model.bias.double().requires_grad_()
    loss = head.loss(x @ weight + bias, labels, None, 0.0).mean() + 0.05 * weight.square().sum()
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert gradient.abs().max() < 1e-4
    assert model.weight.abs().max() > 0.1


def test_without_features_a_classifier_answers_the_shares() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    nothing = torch.zeros(6, 0)
    model, _ = fit_linear((nothing, labels), (nothing, labels), 3, losses(question("classification", 3)))
    shares = model.logits(nothing).softmax(-1)
    torch.testing.assert_close(shares, torch.tensor([[3, 1, 2]]).double().expand(6, 3) / 6, rtol=0, atol=1e-4)


def test_the_penalty_is_the_best_on_validation() -> None:
    """Ten sequences and forty features: the loosest fit is sure of what it can't know."""
    truth = torch.zeros(40, 1)
    truth[0] = 1
    train, valid = drawn(10, 40), drawn(500, 40, 1)
    pairs = [(x, ((x @ truth)[:, 0] + 0.3 * drawn(len(x), 1, 2)[:, 0] > 0).long()) for x in (train, valid)]
    head = question("classification", 2)
    each = [fit_linear(*pairs, 2, losses(head), (penalty,))[1] for penalty in PENALTIES]
    model, loss = fit_linear(*pairs, 2, losses(head))
    assert PENALTIES[int(np.argmin(each))] == model.penalty
    assert loss == pytest.approx(min(each), rel=1e-3)
    assert min(each) < 0.9 * each[-1]


def test_a_feature_that_does_not_vary_counts_nothing() -> None:
    features = torch.cat([drawn(50, 2), torch.full((50, 1), 7.0)], 1)
    labels = (features[:, :1] * 2).double()
    model, _ = fit_linear(
        (features, labels), (features, labels), 1, losses(question("regression", 1)), (1e-3,)
    )
    moved = features.clone()
    moved[:, 2] = 1e6
    assert math.isclose(model.logits(moved)[0, 0], model.logits(features)[0, 0], rel_tol=1e-6)


def test_the_bases_around_are_fitted_where_records_lack_classes() -> None:
    """The class of a base is its letter, A, C or G; one record has the classes of A and C alone."""
    bases = np.random.default_rng(0).integers(0, 3, (2, 400)).astype(np.uint8)
    bases[1] %= 2
    records = [(row, row.copy()) for row in bases]
    model = fit_context(records, records[1:], 3)
    assert (model.logits(bases[0]).argmax(1).numpy() == bases[0]).mean() > 0.99
