# The field's names of gradients.
# ruff: noqa: N815
"""What the sweeps of a scan are given, whichever kernels make them."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class ScanInputs(NamedTuple):
    """Inputs of a scan as its kernels read them.

    Attributes:
        u, dt: [B, L, E].
        A: [E, N].
        B, C: [B, L, N].
        D, dt_bias: [E] or None.
        z: [B, L, E] or None.
        starts: uint8 [B, L] or None, see `dnamamba.kernels.packing`.
        softplus: whether delta is softplus(dt + dt_bias).
        reverse: whether sequences are read from their ends.
    """

    u: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    starts: Tensor | None
    softplus: bool
    reverse: bool

    @property
    def turn(self) -> int:
        """How positions count: 1, or -1 from the end."""
        return -1 if self.reverse else 1

    def arranged(
        self,
        rows: Callable[[Tensor], Tensor],
        columns: Callable[[Tensor], Tensor],
        states: Callable[[Tensor], Tensor],
    ) -> "ScanInputs":
        """Return the same with `rows` of u, dt and z, `columns` of B and C, and `states` of A.

        Args:
            rows: applied to u, dt and z, [B, L, E].
            columns: applied to B and C, [B, L, N].
            states: applied to A, [E, N].
        """
        z = None if self.z is None else rows(self.z)
        return self._replace(
            u=rows(self.u), dt=rows(self.dt), z=z, B=columns(self.B), C=columns(self.C), A=states(self.A)
        )


class States(NamedTuple):
    """States in memory, [B, `saved`, N, E]; that before chunk c is the c * `slots`-th.

    Of the chunks before it, a short one counts one. A single pass that saves nothing has no `values`.
    """

    values: Tensor
    saved: int
    slots: int


class Gradients(NamedTuple):
    """Where the backward writes. Of what is not asked for, an empty tensor.

    Attributes:
        du, ddt, dz, y: [B, L, E]; y is the forward's output again.
        dA: [B, chunks, N, E]; on entry q behind every chunk, where there are several.
        dB_dC: [2, groups, B, L, N].
        dD, dbias: [B, chunks, E].
        dfirst: [B, N, E].
    """

    du: Tensor
    ddt: Tensor
    dz: Tensor
    y: Tensor
    dA: Tensor
    dB_dC: Tensor
    dD: Tensor
    dbias: Tensor
    dfirst: Tensor
