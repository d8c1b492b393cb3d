"""The root mean square norm before a block, row by row: its factors, and its gradient with the residual's."""

from typing import Any

import numba
import numpy as np

from dnamamba.kernels.numba_cpu.compiling import compiled
from dnamamba.kernels.numba_cpu.vectors import constant, load, store

_ROWS = "float32[:,::1]"


@numba.njit(inline="always")
def _product(a: Any, b: Any, start: Any, stop: Any, lanes: Any) -> Any:
    """Return the sum of a[i] b[i] over `start` to `stop`; `lanes` has room for 16."""
    total = constant(0.0)
    for i in range(start, stop, 16):
        total = total + load(a, i) * load(b, i)
    store(lanes, 0, total)
    whole = lanes[0]
    for lane in range(1, 16):
        whole += lanes[lane]
    return whole


@compiled(f"void({_ROWS}, float32, float32[::1], int64, int64)")
def inverse_root_mean_squares(x: Any, eps: Any, scale: Any, first: Any, last: Any) -> None:
    """Write 1 / sqrt(mean(x^2) + eps) of the rows `first` to `last` of x [M, D] into `scale` [M]."""
    width = x.shape[1]
    lanes = np.empty(16, np.float32)
    for m in range(first, last):
        square = _product(x, x, m * width, m * width + width, lanes)
        scale[m] = np.float32(1.0) / np.sqrt(square / np.float32(width) + eps)


@compiled(f"void({_ROWS}, float32[::1], {_ROWS}, {_ROWS}, {_ROWS}, int64, int64)")
def norm_backward(x: Any, scale: Any, d_normed: Any, dy: Any, dx: Any, first: Any, last: Any) -> None:
    """Write the gradient of x + f(norm(x)) for the rows `first` to `last`.

    Args:
        x: [M, D].
        scale: [M], from `inverse_root_mean_squares`.
        d_normed: [M, D], the derivative with respect to x times `scale`; may be `dx`.
        dy: [M, D], that of the sum.
        dx: [M, D], written.
    """
    width = x.shape[1]
    lanes = np.empty(16, np.float32)
    for m in range(first, last):
        start = m * width
        product = _product(d_normed, x, start, start + width, lanes)
        own = constant(scale[m])
        across = constant(product * scale[m] * scale[m] * scale[m] / np.float32(width))
        for i in range(start, start + width, 16):
            store(dx, i, load(dy, i) + own * load(d_normed, i) - across * load(x, i))
