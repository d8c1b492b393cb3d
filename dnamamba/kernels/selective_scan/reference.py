"""The selective scan as the textbook writes it: a loop over time under plain autograd."""

import torch
import torch.nn.functional as F

from dnamamba.kernels.precision import softplus, state_dtype, without_autocast

from .signature import Scan, ScanArguments


def selective_scan_reference(given: ScanArguments) -> Scan:
    """See `selective_scan`. Time and memory grow with B * L * E * N: for tests and for reading."""
    u, dt, A, B, C, D, z, dt_bias, initial_state, starts, dt_softplus = given
    dtype = state_dtype(u.dtype)
    with without_autocast(u.device):
        u_BLE, delta_BLE, A_EN = u.to(dtype), dt.to(dtype), A.to(dtype)
        B_BLN, C_BLN = B.to(dtype), C.to(dtype)
        if dt_bias is not None:
            delta_BLE = delta_BLE + dt_bias.to(dtype)
        if dt_softplus:
            delta_BLE = softplus(delta_BLE)

        batch, length, channels = u.shape
        if initial_state is None:
            state_BEN = u_BLE.new_zeros(batch, channels, A.shape[1])
        else:
            state_BEN = initial_state.to(dtype)
        outputs = []
        for t in range(length):
            delta_BE = delta_BLE[:, t]
            decay_BEN = torch.exp(delta_BE[:, :, None] * A_EN)
            if starts is not None:
                decay_BEN = decay_BEN.masked_fill(starts[:, t, None, None] != 0, 0)
            drive_BEN = (delta_BE * u_BLE[:, t])[:, :, None] * B_BLN[:, t, None, :]
            state_BEN = decay_BEN * state_BEN + drive_BEN
            outputs.append((state_BEN * C_BLN[:, t, None, :]).sum(-1))
        y_BLE = torch.stack(outputs, dim=1)

        if D is not None:
            y_BLE = y_BLE + D.to(dtype) * u_BLE
        if z is not None:
            y_BLE = y_BLE * F.silu(z.to(dtype))
        return Scan(y_BLE.to(u.dtype), state_BEN)
