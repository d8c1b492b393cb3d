"""transformers' own Mamba on our kernels: the numbers that it has without them."""

import logging
from typing import Any

import pytest
import torch

from dnamamba import compat

NAMES = ("causal_conv1d_fn", "causal_conv1d_update", "mamba_selective_scan", "mamba_selective_state_update")


@pytest.fixture(autouse=True)
def modeling_mamba(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of their model, put back after a test."""
    from transformers.models.mamba import modeling_mamba  # takes seconds

    logging.getLogger("transformers").setLevel(logging.CRITICAL)
    for name in NAMES:
        monkeypatch.setattr(modeling_mamba, name, getattr(modeling_mamba, name))
    return modeling_mamba


def everything(model: Any, tokens: torch.Tensor) -> list[torch.Tensor]:
    """Logits, every gradient, and the logits of each step of a generation."""
    model.zero_grad()
    logits = model(tokens).logits
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    made: Any = model.generate(
        tokens[:1, :5], max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    return [logits.detach(), *(p.grad.clone() for p in model.parameters()), *made.logits]


def test_model_has_same_numbers_on_our_kernels(modeling_mamba: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    shape = {
        "vocab_size": 16,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "state_size": 8,
        "eos_token_id": None,
    }
    model = modeling_mamba.MambaForCausalLM(modeling_mamba.MambaConfig(**shape)).eval()
    tokens = torch.randint(0, 16, (2, 30))
    before = everything(model, tokens)
    compat.use_in_transformers()
    called = []
    scan = modeling_mamba.mamba_selective_scan
    monkeypatch.setattr(
        modeling_mamba, "mamba_selective_scan", lambda *a, **k: called.append(1) or scan(*a, **k)
    )
    after = everything(model, tokens)
    assert len(called) == 2 + 2
    for one, other in zip(after, before, strict=True):
        scale = other.abs().max()
        torch.testing.assert_close(one / scale, other / scale, rtol=1e-4, atol=1e-5)


def test_another_version_of_transformers_is_named(
    modeling_mamba: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(modeling_mamba, "mamba_selective_scan")
    with pytest.raises(RuntimeError, match="no mamba_selective_scan"):
        compat.use_in_transformers()
