"""The block that reads both ways as one operator, against its parts in float64 with flipped copies."""

from collections.abc import Iterator

import pytest
import torch

from dnamamba.kernels.bidirectional_block import triton_op
from dnamamba.kernels.causal_conv1d import triton_op as conv_op
from dnamamba.kernels.selective_scan import triton_launch, triton_sweeps
from dnamamba.kernels.selective_scan import triton_op as scan_op
from dnamamba.models import LanguageModel
from dnamamba.models.caduceus.backbone import CaduceusBlock
from dnamamba.models.caduceus.config import CaduceusConfig
from tests.kernels.scan_cut import cut_into


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Segments and blocks of a few positions, and every torch.empty starts as NaN."""
    for module in (triton_launch, scan_op, triton_sweeps, triton_op):
        monkeypatch.setattr(module, "SEGMENT", 8)
    monkeypatch.setattr(triton_sweeps, "_WINDOWS", (8, 4))
    # Each program takes the interpreter 6 ms.
    monkeypatch.setattr(triton_sweeps, "_CARRY_COLUMNS", 512)
    for sizes in (conv_op._FORWARD, conv_op._BACKWARD):
        monkeypatch.setitem(sizes, "ROWS", 4)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


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


# Shorter than the taps; several chunks with a rest, and one.
@pytest.mark.parametrize(("length", "chunk"), [(2, 8), (11, 8), (11, 64)])
def test_equals_flipped_copies_in_float64(length: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into(monkeypatch, chunk=chunk)
    found = output_and_gradients(block("triton"), length)
    wanted = output_and_gradients(block("reference").double(), length)
    for ours, truth in zip(found, wanted, strict=True):
        assert (ours - truth).norm() <= 3e-6 * truth.norm()


def test_ps_model_is_equivariant_and_equals_its_parts() -> None:
    tokens = torch.randint(0, 5, (1, 5), generator=torch.Generator().manual_seed(1))
    hidden = {}
    for backend in ("triton", "chunked"):
        torch.manual_seed(0)
        net = LanguageModel(CaduceusConfig(d_model=12, n_layer=1, d_state=3), backend=backend)
        with torch.no_grad():
            hidden[backend] = net.backbone(tokens).hidden
            other = net.backbone(net.backbone.complement[tokens].flip(1)).hidden
        torch.testing.assert_close(other.flip(1, 2), hidden[backend], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(hidden["triton"], hidden["chunked"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", ["in_proj", "forward_scan.x_proj", "reverse_scan.dt_proj", "out_proj"])
def test_an_adapted_projection_is_called(part: str) -> None:
    made, calls = block("triton"), []
    owner, _, name = f"mixer.{part}".rpartition(".")
    inner = made.get_submodule(f"mixer.{part}")

    class Adapted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(part)
            return inner(x)

    setattr(made.get_submodule(owner), name, Adapted())
    assert made.mixer.wrapped
    if part.endswith("x_proj"):  # the slowest step of this file, once
        with torch.no_grad():
            made(torch.randn(1, 1, 12))
        assert calls


def test_keeps_its_input_and_two_sets_of_states() -> None:
    kept: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, torch.nn.Parameter):
            kept[x.data_ptr()] = x.numel() * x.element_size()
        return x

    made, x = block("triton"), torch.randn(1, 16, 12, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        made(x)
    stream, states = 4 * x.numel(), 4 * (16 // 8) * 4 * 24
    own = 2 * (24 + 24 * 4 * 4)  # of A: its logarithm, exponential and gradient
    assert stream + 2 * states <= sum(kept.values()) <= stream + 2 * states + 4 * own


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
