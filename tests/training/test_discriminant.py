"""The linear discriminant against its definition by NumPy, and against features whose Bayes rule is known."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba import UserError
from dnamamba.training.fits.discriminant import Discriminant


def samples(number: int = 300, size: int = 7) -> tuple[Tensor, Tensor]:
    """Three classes of 1/2, 1/3, 1/6 with features of very different scales, correlated."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 0, 0, 1, 1, 2], number // 6))
    features = (
        rng.normal(size=(number, size)) @ rng.normal(size=(size, size)) + rng.normal(size=(3, size))[labels]
    )
    return torch.from_numpy(features * 10.0 ** np.arange(-3, size - 3)), torch.from_numpy(labels)


def solved(features: Tensor, labels: Tensor, shrinkage: float, priors: bool = True) -> tuple[Tensor, Tensor]:
    found = Discriminant(int(labels.max()) + 1, features.shape[1])
    found.add(features, labels)
    return found.solve(shrinkage, priors=priors)


def directly(
    features: NDArray[np.float64], labels: NDArray[np.int64], shrinkage: float, priors: bool
) -> NDArray[np.float64]:
    """Logits of the samples, by the definition, feature by feature and sample by sample."""
    x = features / features.std(0)
    means = np.stack([x[labels == label].mean(0) for label in range(3)])
    residuals = x - means[labels]
    within = sum(np.outer(row, row) for row in residuals) / (len(x) - 3)
    size = x.shape[1]
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / size * np.eye(size)
    weight = np.linalg.inv(shrunk) @ means.T
    shares = np.bincount(labels) / len(labels)
    return x @ weight - 0.5 * np.sum(means.T * weight, 0) + (np.log(shares) if priors else 0)


@pytest.mark.parametrize("priors", [True, False])
@pytest.mark.parametrize("shrinkage", [0.02, 0.5, 1.0])
def test_the_posteriors_are_those_of_the_definition(shrinkage: float, priors: bool) -> None:
    features, labels = samples()
    weight, bias = solved(features, labels, shrinkage, priors)
    expected = torch.from_numpy(directly(features.numpy(), labels.numpy(), shrinkage, priors)).log_softmax(-1)
    assert expected.exp().std() > 0.1
    torch.testing.assert_close((features @ weight.T + bias).log_softmax(-1), expected, rtol=1e-8, atol=1e-8)


def test_batches_equal_all_at_once() -> None:
    """Also where it was solved on the way."""
    features, labels = samples()
    found = Discriminant(3, features.shape[1])
    for part, of in zip(features.split([100, 1, 150, 49]), labels.split([100, 1, 150, 49]), strict=True):
        found.add(part, of)
        found.solve(0.02)
    assert found.counts.tolist() == [150, 100, 50]
    for ours, theirs in zip(found.solve(0.02), solved(features, labels, 0.02), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_bayes_rule_of_two_gaussians() -> None:
    """A shared, full covariance: only who knows it comes near the accuracy Phi(distance / 2)."""
    rng = np.random.default_rng(1)
    size = 8
    covariance = 4 * np.ones((size, size)) + np.diag(np.linspace(0.5, 2, size))
    difference = 1 + 0.8 * (-1.0) ** np.arange(size)
    distance = math.sqrt(difference @ np.linalg.solve(covariance, difference))
    bayes = 0.5 * (1 + math.erf(distance / 2 / math.sqrt(2)))

    def draw(number: int) -> tuple[Tensor, Tensor]:
        labels = rng.integers(0, 2, number)
        noise = rng.multivariate_normal(np.zeros(size), covariance, number)
        return torch.from_numpy(noise + labels[:, None] * difference), torch.from_numpy(labels)

    (train, of_train), (test, of_test) = draw(20_000), draw(20_000)

    def falls_short(weight: Tensor, bias: Tensor) -> float:
        return bayes - ((test @ weight.T + bias).argmax(1) == of_test).double().mean().item()

    means = torch.stack([train[of_train == label].mean(0) for label in (0, 1)])
    assert falls_short(*solved(train, of_train, 0.02)) < 0.01
    assert falls_short(means, -means.square().sum(1) / 2) > 0.05
    assert 0.8 < bayes < 0.99


def test_a_large_mean_costs_no_digits() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(200, 4, dtype=torch.float64, generator=generator)
    labels = (features[:, 0] > 0).long()
    expected, _ = solved(features, labels, 0.02)
    weight, bias = solved(features + 1e5, labels, 0.02)
    torch.testing.assert_close(weight, expected, rtol=1e-8, atol=1e-8)
    assert torch.isfinite(bias).all()


def test_feature_that_does_not_vary_has_no_weight() -> None:
    """Nor one that varies by the rounding of float32 alone; the others are as if it were not there."""
    features, labels = samples()
    constant = torch.full((len(features), 1), 0.1, dtype=torch.float64)
    rounding = 3 + 1e-7 * torch.rand(len(features), 1, dtype=torch.float64)
    weight, bias = solved(torch.cat([constant, features, rounding, 0 * constant], 1), labels, 0.02)
    expected, expected_bias = solved(features, labels, 0.02)
    assert weight[:, [0, -2, -1]].abs().max() == 0
    torch.testing.assert_close(weight[:, 1:-2], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(bias, expected_bias, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("features", [torch.eye(2), torch.ones(6, 2)])
def test_features_without_spread_are_refused(features: Tensor) -> None:
    labels = torch.arange(len(features)) % 2
    with pytest.raises(UserError, match="no two training windows of a class differ in what the head reads"):
        solved(features, labels, 0.02)
