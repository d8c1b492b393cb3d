"""One position at a time equals the textbook scan, in place."""

import pytest
import torch

from dnamamba.kernels import selective_scan
from dnamamba.kernels.selective_scan.step import selective_scan_step


@pytest.mark.parametrize(
    ("dtype", "state_dtype", "tolerance"),
    [
        (torch.float64, torch.float64, 1e-13),
        (torch.float32, torch.float32, 1e-5),
        (torch.bfloat16, torch.float32, 1e-5),
    ],
)
def test_steps_equal_the_scan(dtype: torch.dtype, state_dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    batch, length, channels, states = 3, 9, 5, 4
    u, dt, z = (torch.randn(batch, length, channels).to(dtype) for _ in range(3))
    B, C = (torch.randn(batch, length, states).to(dtype) for _ in range(2))
    A, D, dt_bias = -torch.rand(channels, states) * 3, torch.randn(channels), torch.randn(channels)
    dt[0, 3, 0] = 100.0  # where softplus is linear
    before = torch.randn(batch, channels, states, dtype=state_dtype)
    whole = selective_scan(
        u, dt, A, B, C, D=D, z=z, dt_bias=dt_bias, dt_softplus=True, initial_state=before, backend="reference"
    )
    state = before.clone()
    address = state.data_ptr()
    for t in range(length):
        y = selective_scan_step(state, u[:, t], dt[:, t], A, B[:, t], C[:, t], D, z[:, t], dt_bias)
        assert y.dtype == dtype
        # Both round the same fp32 number to bf16; a last bit may fall either way.
        slack = 2**-7 if dtype == torch.bfloat16 else tolerance
        torch.testing.assert_close(y, whole.y[:, t], rtol=slack, atol=slack)
    torch.testing.assert_close(state, whole.state, rtol=tolerance, atol=tolerance)
    assert state.data_ptr() == address


def test_autocast_changes_nothing() -> None:
    torch.manual_seed(1)
    u, dt, z = (torch.randn(2, 6) for _ in range(3))
    B, C, A = torch.randn(2, 4), torch.randn(2, 4), -torch.rand(6, 4)
    D, dt_bias = torch.randn(6), torch.randn(6)
    states = [torch.randn(2, 6, 4)]
    states.append(states[0].clone())
    plain = selective_scan_step(states[0], u, dt, A, B, C, D, z, dt_bias)
    with torch.autocast("cpu", torch.bfloat16):
        cast = selective_scan_step(states[1], u, dt, A, B, C, D, z, dt_bias)
    assert torch.equal(plain, cast)
    assert torch.equal(*states)
