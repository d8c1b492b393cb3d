"""Bases are drawn with the probabilities that they should have."""

import math
from typing import Any

import pytest
import torch

from dnamamba import UserError
from dnamamba.inference.sampling import Sampling, gumbel

LOGITS = torch.tensor([0.3, -1.0, 1.2, 0.0, 2.0, 5.0])
ALLOWED = torch.tensor([True, True, True, True, False, False])
DRAWS = 200_000


def expected(temperature: float, kept: list[int]) -> list[float]:
    weights = [math.exp(LOGITS[i].item() / temperature) if i in kept else 0.0 for i in range(6)]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize(
    ("sampling", "probabilities"),
    [
        (Sampling(), expected(1.0, [0, 1, 2, 3])),
        (Sampling(temperature=0.5), expected(0.5, [0, 1, 2, 3])),
        (Sampling(temperature=3.0), expected(3.0, [0, 1, 2, 3])),
        (Sampling(top_k=2), expected(1.0, [2, 0])),
        (Sampling(top_k=6), expected(1.0, [0, 1, 2, 3])),
        # 0.539, 0.219, 0.162, ...: the last base needed to reach the probability is kept
        (Sampling(top_p=0.5), expected(1.0, [2])),
        (Sampling(top_p=0.6), expected(1.0, [2, 0])),
        (Sampling(top_p=1.0), expected(1.0, [0, 1, 2, 3])),
        (Sampling(top_k=1, top_p=0.99), expected(1.0, [2])),
        (Sampling(temperature=0), expected(1.0, [2])),
    ],
)
def test_frequencies_are_the_probabilities(sampling: Sampling, probabilities: list[float]) -> None:
    noise = gumbel((DRAWS, 6), torch.Generator().manual_seed(3))
    drawn = sampling.draw(LOGITS.expand(DRAWS, 6), ALLOWED, noise)
    found = torch.bincount(drawn, minlength=6) / DRAWS
    for frequency, p in zip(found.tolist(), probabilities, strict=True):
        assert abs(frequency - p) <= 5 * math.sqrt(p * (1 - p) / DRAWS)


def test_filter_that_passes_all_changes_no_draw() -> None:
    logits, noise = torch.randn(1000, 6), gumbel((1000, 6), torch.Generator().manual_seed(4))
    plain = Sampling().draw(logits, ALLOWED, noise)
    assert torch.equal(plain, Sampling(top_k=6, top_p=1.0).draw(logits, ALLOWED, noise))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -1.0}, r"temperature: must be a number of at least 0 \(got -1\.0\)"),
        ({"temperature": math.nan}, r"temperature: must be a number of at least 0 \(got nan\)"),
        ({"temperature": math.inf}, r"temperature: must be a number of at least 0 \(got inf\)"),
        ({"top_k": 0}, r"top_k: must be at least 1 \(got 0\)"),
        ({"top_p": 0.0}, r"top_p: must be above 0 and at most 1 \(got 0\.0\)"),
        ({"temperature": "1"}, "temperature: must be a number \\(got '1'\\)"),
        ({"top_k": 2.5}, r"top_k: must be a whole number \(got 2\.5\)"),
        ({"top_k": True}, r"top_k: must be a whole number \(got True\)"),
        ({"top_p": 1.1}, r"top_p: must be above 0 and at most 1 \(got 1\.1\)"),
    ],
)
def test_a_number_out_of_range_is_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        Sampling(**arguments)


@pytest.mark.parametrize("temperature", [1e20, 1e39, 1e308])
@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 1.0}])
def test_a_huge_temperature_draws_all_allowed_alike(temperature: float, options: dict[str, Any]) -> None:
    """Infinity divided by a number above float32's largest was NaN, and N was drawn."""
    noise = gumbel((3000, 6), torch.Generator().manual_seed(3))
    drawn = Sampling(temperature, **options).draw(LOGITS.expand(3000, 6), ALLOWED, noise)
    found = torch.bincount(drawn, minlength=6).tolist()
    number = options.get("top_k", 4)
    assert sum(count > 0 for count in found) == number
    assert found[4:] == [0, 0]
    assert min(count for count in found if count) > 3000 / number - 150


@pytest.mark.parametrize("temperature", [1e-20, 1e-40, 5e-324])
@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_p": 0.9}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tiny_temperature_takes_the_likeliest(
    temperature: float, options: dict[str, Any], dtype: torch.dtype
) -> None:
    logits = torch.tensor([[-9.0, 1.0, 1.25, 0.5], [2.0, 3.0, -4.0, 2.999]], dtype=dtype).repeat(50, 1)
    noise = gumbel((100, 4), torch.Generator().manual_seed(0))
    drawn = Sampling(temperature, **options).draw(logits, torch.ones(4, dtype=torch.bool), noise)
    assert drawn.tolist() == [2, 1] * 50
