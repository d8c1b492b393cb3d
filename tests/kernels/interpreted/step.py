"""The Triton kernels of a single position."""

import pytest
import torch

from dnamamba.kernels.causal_conv1d.step import causal_conv1d_step
from dnamamba.kernels.mamba_block import triton_step
from dnamamba.kernels.selective_scan.step import selective_scan_step
from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.models.mamba.recurrence import FEW

# bf16: both round the same fp32 number; a last bit may fall either way.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("E", "N"), [(5, 4), (40, 16), (5, 1), (5, 6)])
def test_a_position_of_the_scan(E: int, N: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    batch = 3
    u, z = torch.randn(batch, 2 * E).to(dtype).chunk(2, dim=-1)
    dt = (torch.randn(batch, E) * 3).to(dtype)
    _, B, C = torch.randn(batch, 3 + 2 * N).to(dtype).split([3, N, N], dim=-1)
    A, D, dt_bias = -torch.rand(E, N) * 4, torch.randn(E), torch.randn(E)
    before = torch.randn(batch, E, N)
    results = []
    for backend in ("triton", "chunked"):
        state = before.clone()
        y = selective_scan_step(state, u, dt, A, B, C, D, z, dt_bias, backend=backend)
        results.append((y, state))
    (ours, our_state), (theirs, their_state) = results
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    torch.testing.assert_close(our_state, their_state, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("E", "K"), [(5, 4), (130, 4), (9, 2), (9, 1)])
def test_a_position_of_the_convolution(E: int, K: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2 * E).to(dtype)[:, :E]
    weight, bias = torch.randn(E, K), torch.randn(E)
    before = torch.randn(3, K - 1, E).to(dtype)
    results = []
    for backend in ("triton", "chunked"):
        history = before.clone()
        results.append((causal_conv1d_step(history, x, weight, bias, backend=backend), history))
    (ours, our_history), (theirs, their_history) = results
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert torch.equal(our_history, their_history)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rank", [None, 3])
def test_a_position_of_a_block(rank: int | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_step, "_COLUMNS", 8)  # widths of 12 and 24 in several parts
    torch.manual_seed(0)
    config = MambaConfig(d_model=12, n_layer=1, d_state=4, dt_rank=rank)
    model = LanguageModel(config, backend="triton")
    torch.nn.init.normal_(model.backbone.embedding.weight)
    results = []
    for few in (FEW, 0):
        monkeypatch.setattr("dnamamba.models.mamba.recurrence.FEW", few)
        recurrence = model.backbone.recurrence(3, dtype)
        torch.manual_seed(1)
        for part in recurrence.state[0]:
            part.normal_()
        logits = torch.stack([recurrence.step(torch.tensor([0, base, 3])) for base in (1, 2)])
        results.append((logits, *recurrence.state[0]))
    assert results[0][0].std() > 1
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize(("rows", "states"), [(2, 4), (2, 3), (FEW + 1, 4)])
def test_a_model_a_base_at_a_time(rows: int, states: int) -> None:
    torch.manual_seed(0)
    config = MambaConfig(d_model=12, n_layer=2, d_state=states)
    model, judge = (LanguageModel(config, backend=backend) for backend in ("triton", "reference"))
    judge.load_state_dict(model.state_dict())
    tokens = torch.randint(0, 5, (rows, 6), dtype=torch.uint8)  # longer than the convolution's history
    recurrence = model.backbone.recurrence(rows, torch.float32)
    steps = torch.stack([recurrence.step(tokens[:, position]) for position in range(6)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(steps, judge(tokens).logits, rtol=1e-5, atol=1e-6)
