"""mamba_ssm's and causal-conv1d's functions, judged in float64 by loops over positions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba import compat

BATCH, E, N, L, K = 2, 6, 4, 11, 3


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def scan_loop(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, z: Any, bias: Any, soft: bool
) -> tuple[Tensor, Tensor]:
    """A channel and a position at a time."""

    def of(M: Tensor, b: int, e: int, t: int) -> Tensor:
        if M.dim() == 2:
            return M[e]
        return M[b, :, t] if M.dim() == 3 else M[b, e * M.shape[1] // E, :, t]

    rows, states = [], []
    for b in range(len(u)):
        for e in range(E):
            h = torch.zeros(N, dtype=u.dtype)
            for t in range(u.shape[2]):
                dt = delta[b, e, t] + (0 if bias is None else bias[e])
                dt = torch.log1p(dt.exp()) if soft else dt
                h = (dt * A[e]).exp() * h + dt * of(B, b, e, t) * u[b, e, t]
                y = (of(C, b, e, t) * h).sum() + (0 if D is None else D[e] * u[b, e, t])
                rows.append(y if z is None else y * z[b, e, t] * torch.sigmoid(z[b, e, t]))
            states.append(h)
    return torch.stack(rows).view(u.shape), torch.stack(states).view(len(u), E, N)


def same_with_gradients(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], inputs: list[Tensor]) -> None:
    """Values and the gradients of a random projection of them."""
    weights = [torch.randn_like(each) for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    found, wanted = (
        torch.autograd.grad(
            sum((w * each).sum() for w, each in zip(weights, made, strict=True)), inputs, retain_graph=True
        )  # type: ignore[union-attr, arg-type]
        for made in (ours, theirs)
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


SHAPES = {
    "each position": ((BATCH, N, L), (BATCH, N, L)),
    "groups": ((BATCH, 3, N, L), (BATCH, 3, N, L)),
    "one group": ((BATCH, 1, N, L), (BATCH, N, L)),
    "each channel": ((E, N), (E, N)),
    "mixed": ((E, N), (BATCH, 2, N, L)),
    "mixed otherwise": ((BATCH, N, L), (E, N)),
}


@pytest.mark.parametrize("extras", [True, False])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_the_scan_equals_a_loop_in_values_and_gradients(shapes: tuple[Any, Any], extras: bool) -> None:
    torch.manual_seed(0)
    u, delta, A = drawn(BATCH, E, L), drawn(BATCH, E, L), drawn(E, N)
    B, C = (drawn(*shape) for shape in shapes)
    options = (drawn(E), drawn(BATCH, E, L), drawn(E)) if extras else (None, None, None)
    inputs = [u, delta, A, B, C, *(each for each in options if each is not None)]
    minus, step = -A.exp(), 0.3 * delta
    ours = compat.selective_scan_fn(u, step, minus, B, C, *options, extras, True)
    assert isinstance(ours, tuple)
    same_with_gradients(ours, scan_loop(u, step, minus, B, C, *options, extras), inputs)
    alone = compat.selective_scan_fn(u, step, minus, B, C, *options, extras)
    assert torch.equal(alone, ours[0])


def test_the_scan_refuses_what_it_can_not_do() -> None:
    u, B = drawn(BATCH, E, L), drawn(BATCH, N, L)
    with pytest.raises(ValueError, match="A: expected real"):
        compat.selective_scan_fn(u, u, torch.ones(E, N, dtype=torch.complex64), B, B)
    with pytest.raises(ValueError, match="4 and 4 groups"):
        compat.selective_scan_fn(u, u, drawn(E, N), drawn(BATCH, 4, N, L), drawn(BATCH, 4, N, L))


def conv_loop(x: Tensor, weight: Tensor, bias: Any, before: Any, silu: bool) -> Tensor:
    past = torch.zeros(len(x), E, K - 1, dtype=x.dtype) if before is None else before
    full = torch.cat([past, x], -1)
    rows = [(weight * full[..., t : t + K]).sum(-1) for t in range(x.shape[2])]
    y = torch.stack(rows, -1) + (0 if bias is None else bias[:, None])
    return y * torch.sigmoid(y) if silu else y


@pytest.mark.parametrize("length", [1, K - 1, L])
@pytest.mark.parametrize("activation", [None, "silu", "swish"])
@pytest.mark.parametrize("extras", [True, False])
def test_the_convolution_equals_a_loop(activation: str | None, extras: bool, length: int) -> None:
    torch.manual_seed(1)
    x, weight = drawn(BATCH, E, length), drawn(E, K)
    bias, before = (drawn(E), drawn(BATCH, E, K - 1)) if extras else (None, None)
    inputs = [x, weight, *(each for each in (bias, before) if each is not None)]
    ours = compat.causal_conv1d_fn(x, weight, bias, None, before, True, None, activation)
    assert isinstance(ours, tuple)
    past = torch.zeros(BATCH, E, K - 1, dtype=x.dtype) if before is None else before
    last = torch.cat([past, x], -1)[..., -(K - 1) :]
    same_with_gradients(ours, (conv_loop(x, weight, bias, before, activation is not None), last), inputs)
    out = torch.zeros(BATCH, E, K - 1, dtype=x.dtype)
    with torch.no_grad():
        _, final = compat.causal_conv1d_fn(x, weight, bias, None, before, True, out, activation)
    assert final is out
    assert torch.equal(out, last)


def test_packed_sequences_do_not_read_each_other() -> None:
    torch.manual_seed(2)
    x, weight, bias = drawn(1, E, 9), drawn(E, K), drawn(E)
    index = torch.tensor([[0, 0, 0, 0, 5, 2, 2, -1, -1]])
    ours = compat.causal_conv1d_fn(x, weight, bias, index, activation="silu")
    pieces = [
        conv_loop(x[..., part], weight, bias, None, True) for part in (slice(4), slice(4, 5), slice(5, 7))
    ]
    theirs = torch.cat([*pieces, torch.zeros(1, E, 2, dtype=x.dtype)], -1)
    same_with_gradients((ours,), (theirs,), [x, weight, bias])
    with pytest.raises(ValueError, match="seq_idx: packed sequences"):
        compat.causal_conv1d_fn(x, weight, bias, index, return_final_states=True)


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("size", [K - 1, K + 2])
def test_the_convolution_goes_on_where_it_was(ring: bool, several: bool, size: int) -> None:
    """Position by position, or three at a time, from a state in rows of a larger one: as the whole."""
    torch.manual_seed(3)
    weight, bias = drawn(E, K).detach(), drawn(E).detach()
    x = drawn(BATCH, E, 12).detach()
    whole = conv_loop(x, weight, bias, None, True)
    cache, rows = torch.zeros(5, E, size, dtype=x.dtype), torch.tensor([3, 0])
    untouched = cache[[1, 2, 4]].clone()
    made = []
    step = 3 if several else 1
    for t in range(0, 12, step):
        piece = x[..., t : t + step] if several else x[..., t]
        read = torch.full((BATCH,), t, dtype=torch.int32) if ring else None
        y = compat.causal_conv1d_update(piece, cache, weight, bias, "silu", read, rows)
        assert y.shape == piece.shape
        made.append(y if several else y[..., None])
    torch.testing.assert_close(torch.cat(made, -1), whole, rtol=1e-9, atol=1e-11)
    assert torch.equal(cache[[1, 2, 4]], untouched)
    place = torch.arange(12 - size, 12) % size if ring else torch.arange(size)
    assert torch.equal(cache[rows][..., place], x[..., -size:])


def test_a_state_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="conv_state holds 1 inputs, expected at least 2"):
        compat.causal_conv1d_update(torch.zeros(1, E), torch.zeros(1, E, 1), torch.zeros(E, K))


@pytest.mark.parametrize("indices", [False, True])
@pytest.mark.parametrize("extras", [True, False])
def test_single_updates_equal_the_scan(extras: bool, indices: bool) -> None:
    torch.manual_seed(4)
    u, delta, z = (drawn(BATCH, E, L).detach() for _ in range(3))
    A, B, C = -drawn(E, N).detach().exp(), drawn(BATCH, N, L).detach(), drawn(BATCH, N, L).detach()
    D, bias = (drawn(E).detach(), drawn(E).detach()) if extras else (None, None)
    gate = z if extras else None
    wanted, last = scan_loop(u, delta, A, B, C, D, gate, bias, extras)
    state = torch.zeros(4, E, N, dtype=u.dtype) if indices else torch.zeros(BATCH, E, N, dtype=u.dtype)
    rows = torch.tensor([2, 0], dtype=torch.int32) if indices else None
    for t in range(L):
        gate_t = None if gate is None else gate[..., t]
        y = compat.selective_state_update(
            state, u[..., t], delta[..., t], A, B[..., t], C[..., t], D, gate_t, bias, extras, rows
        )
        torch.testing.assert_close(y, wanted[..., t], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(state[[2, 0]] if indices else state, last, rtol=1e-9, atol=1e-11)


def test_heads_are_channels_with_their_groups() -> None:
    """Six channels as three heads of two, B and C in three groups: as the scan over channels."""
    torch.manual_seed(5)
    u, delta = drawn(BATCH, E, 4).detach(), drawn(BATCH, E, 4).detach()
    A, B, C = -drawn(E, N).detach().exp(), drawn(BATCH, 3, N, 4).detach(), drawn(BATCH, 3, N, 4).detach()
    D, bias = drawn(E).detach(), drawn(E).detach()
    wanted, last = scan_loop(u, delta, A, B, C, D, None, bias, True)
    state = torch.zeros(BATCH, 3, 2, N, dtype=u.dtype)
    for t in range(4):
        x, dt = (each[..., t].view(BATCH, 3, 2) for each in (u, delta))
        shared = (A.view(3, 2, N), B[..., t], C[..., t], D.view(3, 2), None, bias.view(3, 2), True)
        y = compat.selective_state_update(state, x, dt, *shared)
        torch.testing.assert_close(y.flatten(1), wanted[..., t], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(state.view(BATCH, E, N), last, rtol=1e-9, atol=1e-11)


def test_the_inner_function_equals_its_parts() -> None:
    torch.manual_seed(6)
    rank, width = 2, 5
    xz, conv, conv_bias = drawn(BATCH, 2 * E, L), drawn(E, 1, K), drawn(E)
    x_proj, dt_proj, out, out_bias = drawn(rank + 2 * N, E), drawn(E, rank), drawn(width, E), drawn(width)
    A, D, bias, B_bias, C_bias = drawn(E, N), drawn(E), drawn(E), drawn(N), drawn(N)
    norms = [drawn(N), drawn(N), drawn(E)]
    inputs = [xz, conv, conv_bias, x_proj, dt_proj, out, out_bias, A, D, bias, B_bias, C_bias, *norms]
    ours = compat.mamba_inner_fn(
        *(xz, conv, conv_bias, x_proj, dt_proj, out, out_bias, -A.exp()),
        D=D,
        delta_bias=bias,
        B_proj_bias=B_bias,
        C_proj_bias=C_bias,
        **dict(zip(("b_rms_weight", "c_rms_weight", "dt_rms_weight"), norms, strict=True)),
    )

    def normed(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    u = conv_loop(xz[:, :E], conv[:, 0], conv_bias, None, True)
    made = torch.einsum("bel,re->blr", u, x_proj)
    delta = normed(made[..., :rank] @ dt_proj.T, norms[2])
    B = normed(made[..., rank : rank + N] + B_bias, norms[0])
    C = normed(made[..., rank + N :] + C_bias, norms[1])
    along = (each.transpose(1, 2) for each in (delta, B, C))
    dt, B, C = along
    y, _ = scan_loop(u, dt, -A.exp(), B, C, D, xz[:, E:], bias, True)
    same_with_gradients((ours,), (F.linear(y.transpose(1, 2), out, out_bias),), inputs)


def test_half_precision_keeps_its_dtype_and_its_fp32_state() -> None:
    torch.manual_seed(7)
    u = torch.randn(BATCH, E, L, dtype=torch.bfloat16)
    B = torch.randn(BATCH, N, L, dtype=torch.bfloat16)
    A, bias = -torch.rand(E, N), torch.rand(E)
    y, state = compat.selective_scan_fn(
        u, u, A, B, B, delta_bias=bias, delta_softplus=True, return_last_state=True
    )
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    wide = scan_loop(
        u.double(), u.double(), A.double(), B.double(), B.double(), None, None, bias.double(), True
    )
    torch.testing.assert_close(state.double(), wide[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(y.double(), wide[0], rtol=1e-2, atol=1e-2)
