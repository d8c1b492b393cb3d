"""The fused block inside a model against the same model built from its parts."""

import pytest
import torch

from dnamamba.kernels.mamba_block import triton_op
from dnamamba.kernels.selective_scan import triton_launch, triton_sweeps
from dnamamba.kernels.selective_scan import triton_op as scan_op
from dnamamba.models import LanguageModel, MambaConfig, State
from tests.kernels.scan_cut import cut_into


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (triton_launch, scan_op, triton_sweeps, triton_op):
        monkeypatch.setattr(module, "SEGMENT", 8)
    monkeypatch.setattr(triton_sweeps, "_WINDOWS", (8, 4))
    # A program takes the interpreter milliseconds, whatever its width; E x N = 96 columns leave some masked.
    monkeypatch.setattr(triton_sweeps, "_CARRY_COLUMNS", 64)


def model(backend: str, layers: int = 2) -> LanguageModel:
    torch.manual_seed(0)
    # No kernel holds three states: one more is kept at zero.
    return LanguageModel(MambaConfig(d_model=12, n_layer=layers, d_state=3), backend=backend)


def tokens(length: int) -> torch.Tensor:
    return torch.randint(0, 4, (2, length), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def run(backend: str, length: int, before: State | None) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Logits and states, and gradients of every parameter, with a loss that touches all outputs."""
    net = model(backend)
    logits, state = net(tokens(length), before)
    outputs = [logits, *(x for block in state for x in block)]
    loss = sum(x.float().sin().sum() for x in outputs)
    return outputs, list(torch.autograd.grad(loss, list(net.parameters())))


@pytest.mark.parametrize(("length", "carried"), [(11, False), (9, True), (2, True)])
def test_outputs_states_and_gradients(length: int, carried: bool) -> None:
    with torch.no_grad():
        before = model("chunked")(tokens(5)).state if carried else None
    fused, parts = (run(backend, length, before) for backend in ("triton", "chunked"))
    for ours, theirs in zip(fused, parts, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert (a - b).norm() <= 3e-6 * b.norm()


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("chunk", [8, 64])  # several, and one for all
def test_state_alone_is_that_of_a_whole_read(
    chunk: int, carried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into(monkeypatch, chunk=chunk)
    net = model("triton")
    with torch.no_grad():
        before = net(tokens(5)).state if carried else None
        whole = net(tokens(19), before).state
    found = net.after(tokens(19), before)
    for ours, theirs in zip(found, whole, strict=True):
        assert torch.equal(ours.conv, theirs.conv)
        assert (ours.ssm - theirs.ssm).norm() <= 1e-6 * theirs.ssm.norm()


def test_gradients_reach_the_state_before() -> None:
    with torch.no_grad():
        before = model("chunked")(tokens(5)).state
    found = []
    for backend in ("triton", "chunked"):
        leaves = [x.clone().requires_grad_() for block in before for x in block]
        state = tuple(type(before[0])(*leaves[i : i + 2]) for i in range(0, len(leaves), 2))
        logits, after = model(backend)(tokens(2), state)
        loss = logits.sin().sum() + sum(x.sin().sum() for block in after for x in block)
        found.append(torch.autograd.grad(loss, leaves))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= 3e-6 * theirs.norm()


def test_autocast_decides_the_dtype_between_the_parts() -> None:
    net = model("triton")
    with torch.autocast("cpu", torch.bfloat16):
        _, state = net(tokens(6))
    assert state[0].conv.dtype == torch.bfloat16
    assert state[0].ssm.dtype == torch.float32


def test_a_model_compiles_into_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a GPU, where "auto" asks nothing of triton; a graph can't hold the question put elsewhere.
    monkeypatch.setattr("dnamamba.models.mamba.backbone.resolve", lambda backend, device, dtype: "triton")
    net = model("triton", layers=1)  # the others are traced alike, for 4 s each

    def logits(bases: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return net(bases).logits

    compiled = torch.compile(logits, fullgraph=True, backend="aot_eager")
    outputs = [f(tokens(6)) for f in (logits, compiled)]
    assert torch.equal(*outputs)
    gradients = [torch.autograd.grad(y.float().sin().sum(), list(net.parameters())) for y in outputs]
    for eager, traced in zip(*gradients, strict=True):
        assert torch.equal(eager, traced)
