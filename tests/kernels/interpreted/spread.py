"""The Triton scan, the Gluon scan and the fused block of a sequence in parts, against the whole."""

from collections.abc import Iterator

import pytest
import torch

from dnamamba.kernels.mamba_block import triton_op as block_op
from dnamamba.kernels.selective_scan import gluon_sweeps, triton_launch, triton_op, triton_sweeps
from dnamamba.models import LanguageModel, MambaConfig
from tests.context.lockstep import Place, in_lockstep
from tests.context.test_operators import check_scan
from tests.kernels.gluon_on_cpu import OnCpu
from tests.kernels.scan_cut import cut_into
from tests.kernels.scan_inputs import scan_inputs


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (triton_launch, triton_op, triton_sweeps, gluon_sweeps, block_op):
        monkeypatch.setattr(module, "SEGMENT", 8)
    monkeypatch.setattr(triton_sweeps, "_WINDOWS", (8, 4))
    # A program takes the interpreter milliseconds, whatever its width.
    monkeypatch.setattr(triton_sweeps, "_CARRY_COLUMNS", 512)


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("B", "L", "size", "chunk", "short", "optional"),
    [
        (2, 22, 2, 64, 0, ("z",)),  # a single pass
        (1, 33, 3, 8, 0, ("D", "z", "initial_state")),
        (1, 66, 2, 16, 2, ("dt_bias", "initial_state")),
    ],
)
def test_a_scan_in_parts_equals_the_whole(
    B: int, L: int, size: int, chunk: int, short: int, optional: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cut_into(monkeypatch, chunk=chunk, short=short)
    monkeypatch.setattr(triton_sweeps, "_CARRY_ROWS", 2)
    check_scan(scan_inputs(B, L, 3, 4, optional=optional), "triton", size, 2e-6)


def test_a_gluon_scan_in_parts_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=8)
    monkeypatch.setattr(gluon_sweeps, "takes", lambda inputs: True)
    for name in ("forward_kernel", "output_kernel", "backward_kernel", "gradient_kernel"):
        monkeypatch.setattr(gluon_sweeps, name, OnCpu(getattr(gluon_sweeps, name), True))
    # In fp32, which the emulation takes: the bound is that of dB and dC, which are TF32 products.
    check_scan(scan_inputs(1, 48, 32, 16, optional=("D", "z", "initial_state")), "triton", 2, 6e-4)


def gradients(place: Place | None, tokens: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits, and gradients of the parameters and the state before, of a loss that touches all outputs."""
    torch.manual_seed(0)
    net = LanguageModel(MambaConfig(d_model=8, n_layer=1, d_state=4), backend="triton")
    with torch.no_grad():
        state = net(torch.arange(5, dtype=torch.uint8).view(1, 5) % 4).state
    state = tuple(type(layer)(*(x.clone().requires_grad_() for x in layer)) for layer in state)
    net.backbone.ranks = place
    logits, after = net(tokens, state)
    for alone, behind in zip(net.after(tokens, state), after, strict=True):
        assert (alone.ssm - behind.ssm).norm() <= 1e-6 * behind.ssm.norm()
        assert torch.equal(alone.conv, behind.conv)
    start = place.rank * tokens.shape[1] if place else 0
    weight = torch.arange(start, start + tokens.shape[1]).add(1).sin().view(1, -1, 1)
    # A state is the same on all ranks, and so is its gradient: its part of the loss counts once.
    loss = (logits.sin() * weight).sum()
    of_state = sum(x.sin().sum() for layer in after for x in layer)
    leaves = [x for layer in state for x in layer]
    return logits.detach(), list(torch.autograd.grad(loss + of_state, [*net.parameters(), *leaves]))


def test_a_fused_block_in_parts_equals_the_whole() -> None:
    tokens = torch.randint(0, 4, (1, 18), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    logits, expected = gradients(None, tokens)
    parts = in_lockstep(2, lambda place: gradients(place, tokens.unflatten(1, (2, -1))[:, place.rank]))
    found = torch.cat([part[0] for part in parts], dim=1)
    assert (found - logits).norm() <= 3e-6 * logits.norm()
    for i, whole in enumerate(expected):
        ours = [part[1][i] for part in parts]
        # A state's gradient is whole on every rank, the last two; a parameter's is a sum over them.
        for gradient in ours if i >= len(expected) - 2 else [sum(ours)]:
            assert (gradient - whole).norm() <= 3e-6 * whole.norm(), i
