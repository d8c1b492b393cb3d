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

    log1p(e) for e = exp(-|x|), from 0 to 1, is a polynomial with the largest relative error made small: with
    rounded coefficients 5.6e-08.
    """
    above = part_above_zero(x)
    small = exp(x - above - above)
    series = small * constant(0.00536482) + constant(-0.03006576)
    series = series * small + constant(0.07920449)
    series = series * small + constant(-0.13753799)
    series = series * small + constant(0.19153653)
    series = series * small + constant(-0.24857163)
    series = series * small + constant(0.33321323)
    series = series * small + constant(-0.49999648)
    return above + (series * small * small + small)
