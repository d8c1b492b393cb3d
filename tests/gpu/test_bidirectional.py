"""Sequences read from their ends, and the block that reads both ways, on a GPU."""

import pytest
import torch

from dnamamba.kernels.causal_conv1d.triton_op import convolve, convolve_backward
from dnamamba.kernels.selective_scan.triton_op import scan_backward, scan_forward
from dnamamba.models.caduceus.backbone import CaduceusBlock
from dnamamba.models.caduceus.config import CaduceusConfig

pytestmark = pytest.mark.gpu


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", dtype=dtype)


# Whole blocks of half precision are Gluon's, the others Triton's.
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (2, 67), (2, 1000), (3, 8192), (256, 256)])
@pytest.mark.parametrize("gated", [False, True])
def test_scan_from_the_end_equals_flipped_copies(
    batch: int, length: int, dtype: torch.dtype, gated: bool
) -> None:
    torch.manual_seed(0)
    u, dt, z, dy = (normal(batch, length, 128, dtype=dtype) for _ in range(4))
    B, C = normal(batch, length, 40, dtype=dtype)[..., 8:].chunk(2, dim=-1)
    A, D, bias = -torch.rand(128, 16, device="cuda"), normal(128), normal(128)
    found = []
    for along, reverse in (((u, dt, B, C, z, dy), True), ([x.flip(1) for x in (u, dt, B, C, z, dy)], False)):
        one, step, b, c, gate, gradient = along
        inputs = (one, step, A, b, c, D, gate if gated else None, bias, None, None)
        y, last, saved = scan_forward(*inputs, True, True, None, reverse)
        found.append((y, last, *scan_backward(gradient, None, *inputs, saved, True, True, None, reverse)))
    for ours, flipped in zip(*found, strict=True):
        ours = ours.flip(1) if ours.dim() == 3 and len(ours) == batch and ours.shape[1] == length else ours
        assert torch.equal(ours, flipped)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 700])  # three inputs before each position
def test_convolution_from_the_end_equals_flipped_copies(length: int) -> None:
    torch.manual_seed(0)
    x, dy = (normal(2, length, 200, dtype=torch.bfloat16) for _ in range(2))
    weight, bias = normal(200, 4), normal(200)
    y = convolve(x, weight, bias, None, None, True, True)
    assert torch.equal(y.flip(1), convolve(x.flip(1), weight, bias, None, None, True))
    dx, *ours = convolve_backward(dy, x, weight, bias, None, None, True, True)
    flipped_dx, *flipped = convolve_backward(dy.flip(1), x.flip(1), weight, bias, None, None, True)
    assert torch.equal(dx.flip(1), flipped_dx)
    for one, other in zip(ours, flipped, strict=True):
        assert torch.equal(one, other)


def outcome(block: CaduceusBlock, x: torch.Tensor, weights: torch.Tensor, half: bool) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    with torch.autocast("cuda", torch.bfloat16, enabled=half):
        y = block(x)
    return [y, *torch.autograd.grad((y * weights).sum(), [x, *block.parameters()])]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("length", [3, 333, 4096])
def test_block_errs_at_most_twice_as_much_as_its_parts(
    length: int, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = CaduceusConfig(d_model=64, n_layer=2)
    block, truth = CaduceusBlock(config, "triton").cuda(), CaduceusBlock(config, "chunked").cuda()
    truth.load_state_dict(block.state_dict())
    x, weights = normal(2, length, 64), normal(2, length, 64)
    wanted = outcome(truth.double(), x.double(), weights, False)
    ours = outcome(block, x, weights, half)
    assert all(torch.equal(*pair) for pair in zip(ours, outcome(block, x, weights, half), strict=True))
    monkeypatch.setattr(CaduceusBlock, "_is_fused", lambda *_: False)
    parts = outcome(block, x, weights, half)
    for one, part, true in zip(ours, parts, wanted, strict=True):
        budget = 2 * (part.double() - true).norm() + (2e-3 if half else 1e-5) * true.norm()
        assert (one.double() - true).norm() <= budget


def test_block_keeps_less_than_two_causal_blocks() -> None:
    block = CaduceusBlock(CaduceusConfig(d_model=128, n_layer=2), "triton").cuda()
    x = normal(2, 4096, 128).requires_grad_()
    with torch.autocast("cuda", torch.bfloat16):
        block(x)  # compiles
        before = torch.cuda.memory_allocated()
        y = block(x)
    kept = torch.cuda.memory_allocated() - before - y.numel() * 4
    states = 2 * 2 * (4096 // 64) * 16 * 256 * 4
    assert states <= kept <= states + 2**20  # besides, weights in bf16
