"""Functions of vectors, written with the operations of `vectors`."""

from typing import Any

import numba

from .vectors import constant, exp, part_above_zero


@numba.njit(inline="always")
def sigmoid(x: Any) -> Any:
    """Compute 1 / (1 + exp(-x))."""
    one = constant(1.0)
    return one / (one + exp(constant(0.0) - x))


@numba.njit(inline="always")
def silu_slope(x: Any, gate: Any) -> Any:
    """Return the derivative of silu at x, `gate` being sigmoid(x)."""
    one = constant(1.0)
    return gate * (one + x * (one - gate))


@numba.njit(inline="always")
def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)), with its relative precision kept where it is small.

    log1p(e) = 2 atanh(s) with s = e / (2 + e) <= 1/3, by its series; e is exp(-|x|).
    """
    above = part_above_zero(x)
    small = exp(x - above - above)
    s = small / (constant(2.0) + small)
    square = s * s
    series = constant(1 / 17)
    series = series * square + constant(1 / 15)
    series = series * square + constant(1 / 13)
    series = series * square + constant(1 / 11)
    series = series * square + constant(1 / 9)
    series = series * square + constant(1 / 7)
    series = series * square + constant(1 / 5)
    series = series * square + constant(1 / 3)
    series = series * square * s + s
    return above + series + series
