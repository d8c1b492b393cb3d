"""Confidence intervals for ratios of sums over windows."""

import numpy as np
from numpy.typing import NDArray


def ratio(
    costs: NDArray[np.float64], counts: NDArray[np.int64], samples: int, seed: int
) -> tuple[float, float, float]:
    """Sum of `costs` over sum of `counts`, and its 95 % interval over draws of n windows with replacement.

    Args:
        costs: float64 [n], of each window.
        counts: int64 [n], targets of each window.
        samples: number of draws.
        seed: of the draws.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    rng, number = np.random.default_rng(seed), len(costs)
    # How often each window is drawn: [samples, n].
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=samples)
    low, high = np.quantile((drawn @ costs) / (drawn @ counts), [0.025, 0.975])
    return float(costs.sum() / counts.sum()), float(low), float(high)
