"""The block that reads both ways as one operator, against its parts in float64 with flipped copies."""

import pytest
import torch

from dnamamba.kernels.bidirectional_block import triton_op
from dnamamba.kernels.selective_scan import triton_launch, triton_sweeps
from dnamamba.kernels.selective_scan import triton_op as scan_op
from dnamamba.models import LanguageModel
from dnamamba.models.caduceus.backbone import CaduceusBlock
from dnamamba.models.caduceus.config import CaduceusConfig
from tests.kernels.scan_cut import cut_into


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (triton_launch, scan_op, triton_sweeps, triton_op):
        monkeypatch.setattr(module, "SEGMENT", 8)
    monkeypatch.setattr(triton_sweeps, "_WINDOWS", (8, 4))


def block(backend: str) -> CaduceusBlock:
    torch.manual_seed(0)
    made = CaduceusBlock(CaduceusConfig(d_model=12, n_layer=1, d_state=4), backend)
    for parameter in made.parameters():  # no two directions, channels or taps alike
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def output_and_gradients(made: CaduceusBlock, length: int) -> list[torch.Tensor]:
    """The output, and the gradients of the input and of every parameter."""
    x = torch.randn(2, length, 12, generator=torch.Generator().manual_seed(1))
    x = x.to(made.norm.weight.dtype).requires_grad_()
    y = made(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y.dtype)
    return [y, *torch.autograd.grad((y * weights).sum(), [x, *made.parameters()])]


@pytest.mark.parametrize("chunk", [8, 64])  # several, and one for all
@pytest.mark.parametrize("length", [1, 2, 3, 8, 19])  # within the taps, and with and without a rest
def test_equals_flipped_copies_in_float64(length: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=chunk)
    found = output_and_gradients(block("triton"), length)
    wanted = output_and_gradients(block("reference").double(), length)
    for ours, truth in zip(found, wanted, strict=True):
        assert (ours - truth).norm() <= 3e-6 * truth.norm()


def test_a_model_of_blocks_equals_its_parts() -> None:
    tokens = torch.randint(0, 5, (2, 11), generator=torch.Generator().manual_seed(1))
    found = {}
    for backend in ("triton", "chunked"):
        torch.manual_seed(0)
        net = LanguageModel(CaduceusConfig(d_model=12, n_layer=2, d_state=4, exchange=True), backend=backend)
        logits = net(tokens).logits
        found[backend] = [logits, *torch.autograd.grad(logits.sin().sum(), list(net.parameters()))]
    for ours, theirs in zip(*found.values(), strict=True):
        assert (ours - theirs).norm() <= 3e-6 * theirs.norm()


def test_keeps_less_than_two_causal_blocks() -> None:
    kept: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, torch.nn.Parameter):
            kept[x.data_ptr()] = x.numel() * x.element_size()
        return x

    made, x = block("triton"), torch.randn(1, 64, 12, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        made(x)
    stream, states = 4 * x.numel(), 4 * (64 // 8) * 4 * 24
    weights = 4 * sum(parameter.numel() for parameter in made.parameters())
    assert 2 * states <= sum(kept.values()) <= stream + 2 * states + weights


def test_compiles_into_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a GPU, where "auto" asks nothing of triton; a graph can't hold the question put elsewhere.
    monkeypatch.setattr("dnamamba.models.caduceus.backbone.resolve", lambda backend, device, dtype: "triton")
    made = block("triton")
    x = torch.randn(1, 2, 12)
    outputs = [f(x) for f in (made, torch.compile(made, fullgraph=True, backend="aot_eager"))]
    assert torch.equal(*outputs)
    gradients = [torch.autograd.grad(y.sin().sum(), list(made.parameters())) for y in outputs]
    for eager, traced in zip(*gradients, strict=True):
        assert torch.equal(eager, traced)
