"""What a scan is given and what it returns, the same for every backend."""

from typing import NamedTuple

from torch import Tensor


class ScanArguments(NamedTuple):
    """The arguments of `selective_scan`, checked, in the order in which autograd functions take them."""

    u: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    initial_state: Tensor | None
    starts: Tensor | None
    dt_softplus: bool


class Scan(NamedTuple):
    """What a selective scan returns.

    Attributes:
        y: [B, L, E], in the dtype of `u`.
        state: [B, E, N], the state after the last position; fp32, or fp64 when `u` is fp64.
    """

    y: Tensor
    state: Tensor
