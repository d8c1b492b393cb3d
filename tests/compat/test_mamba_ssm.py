"""What stands in for mamba_ssm where it is not installed."""

import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module

import pytest
import torch

from dnamamba import MambaConfig, compat
from dnamamba.models import MambaMixer


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mamba_ssm", "causal_conv1d"):
            del sys.modules[name]


def test_code_that_imports_mamba_ssm_finds_our_functions() -> None:
    compat.stand_in_for_mamba_ssm()
    compat.stand_in_for_mamba_ssm()  # a second call changes nothing
    assert import_module("causal_conv1d").causal_conv1d_fn is compat.causal_conv1d_fn
    interface = import_module("mamba_ssm.ops.selective_scan_interface")
    assert interface.selective_scan_fn is compat.selective_scan_fn
    # What flash-linear-attention's Mamba layer imports besides, all of it or none.
    assert interface.mamba_inner_fn is compat.mamba_inner_fn
    assert import_module("causal_conv1d").causal_conv1d_update is compat.causal_conv1d_update
    step = import_module("mamba_ssm.ops.triton.selective_state_update").selective_state_update
    assert step is compat.selective_state_update
    assert (
        import_module("mamba_ssm.ops.triton.layer_norm").RMSNorm
        is import_module("mamba_ssm.ops.triton.layernorm").RMSNorm
    )
    with pytest.raises(ModuleNotFoundError):
        import_module("mamba_ssm.modules.mamba2")


def test_a_real_package_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "causal_conv1d", torch)
    with pytest.raises(RuntimeError, match="causal_conv1d is imported already"):
        compat.stand_in_for_mamba_ssm()


def test_mixer_takes_published_names_and_equals_ours() -> None:
    compat.stand_in_for_mamba_ssm()
    torch.manual_seed(0)
    ours = MambaMixer(MambaConfig(d_model=16, n_layer=1, d_state=4, d_conv=3)).double()
    theirs = import_module("mamba_ssm").Mamba(16, d_state=4, d_conv=3).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 20, 16, dtype=torch.float64, requires_grad=True)
    one, other = theirs(x), ours(x)[0]
    # `A` and `D` go through fp32 there, as in mamba_ssm.
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    inputs = [x, *ours.parameters()]
    wanted = torch.autograd.grad(other.square().sum(), inputs)
    found = torch.autograd.grad(one.square().sum(), [x, *theirs.parameters()])
    names = [None, *(name for name, _ in theirs.named_parameters())]
    assert names[1:] == [name for name, _ in ours.named_parameters()]
    for name, a, b in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=str(name))
    with pytest.raises(NotImplementedError, match="whole sequences"):
        theirs(x, inference_params={})


@pytest.mark.parametrize("residual", [True, False])
def test_add_and_norm_equal_their_definitions(residual: bool) -> None:
    compat.stand_in_for_mamba_ssm()
    norms = import_module("mamba_ssm.ops.triton.layer_norm")
    torch.manual_seed(1)
    x, weight, bias = torch.randn(2, 5, 8), torch.rand(8), torch.rand(8)
    other = torch.randn(2, 5, 8) if residual else None
    total = x if other is None else x + other
    rms = total / (total.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight
    found, kept = norms.rms_norm_fn(x, weight, None, residual=other, prenorm=True, eps=1e-3)
    torch.testing.assert_close(found, rms)
    assert torch.equal(kept, total)
    centred = total - total.mean(-1, keepdim=True)
    layer = centred / (centred.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight + bias
    torch.testing.assert_close(norms.layer_norm_fn(x, weight, bias, residual=other, eps=1e-3), layer)
    assert norms.rms_norm_fn(x.bfloat16(), weight, None, residual=total).dtype == torch.bfloat16


def test_a_block_adds_before_it_norms() -> None:
    compat.stand_in_for_mamba_ssm()
    block_class = import_module("mamba_ssm.modules.mamba_simple").Block
    norm = import_module("mamba_ssm.ops.triton.layer_norm").RMSNorm

    class Double(torch.nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()

        def forward(self, x: torch.Tensor, inference_params: None = None) -> torch.Tensor:
            return 2 * x

    block = block_class(4, Double, partial(norm, eps=1e-5), residual_in_fp32=True)
    x, before = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    for residual in (None, before):
        mixed, total = block(x, residual)
        wanted = x if residual is None else x + residual
        assert torch.equal(total, wanted)
        torch.testing.assert_close(mixed, 2 * torch.nn.functional.rms_norm(wanted, (4,), eps=1e-5))
