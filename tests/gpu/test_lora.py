"""Adapters on a GPU: called in the unfused block, merged into the fused one, and the same either way."""

import pytest
import torch

from dnamamba.models import DecoderConfig, MambaConfig, SequenceModel
from dnamamba.training.lora import add_adapters, merge_adapters

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def peft() -> None:
    """What makes the adapters; its import takes seconds."""
    pytest.importorskip("peft")


def test_adapters_called_equal_fused_block_with_adapters_merged() -> None:
    torch.manual_seed(0)
    decoder = DecoderConfig("classification", ("a", "b"), "mean")
    model = SequenceModel(MambaConfig(64, 3), decoder).cuda()
    add_adapters(model, rank=4, alpha=8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    tokens = torch.randint(0, 4, (3, 700), dtype=torch.uint8, device="cuda")
    called = model(tokens)
    called.square().sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 1e-6, name
    merge_adapters(model)
    assert not any(layer.mixer.wrapped for layer in model.backbone.layers)
    torch.testing.assert_close(model(tokens), called, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", ["last", "mean"])
def test_padding_changes_nothing_in_the_fused_block(mode: str) -> None:
    torch.manual_seed(0)
    decoder = DecoderConfig("classification", ("a", "b", "c"), mode)
    model = SequenceModel(MambaConfig(64, 2), decoder).cuda()
    lengths = torch.tensor([1, 130, 64, 700, 333], device="cuda")
    rows = [torch.randint(0, 4, (int(n),), dtype=torch.uint8, device="cuda") for n in lengths]
    one_by_one = torch.cat([model(row[None]) for row in rows])
    for side in ("right", "left"):
        tokens = torch.full((5, 710), 2, dtype=torch.uint8, device="cuda")
        for row, target in zip(rows, tokens, strict=True):
            target[slice(len(row)) if side == "right" else slice(710 - len(row), None)] = row
        logits = model(tokens, lengths, padding=side)  # type: ignore[arg-type]
        torch.testing.assert_close(logits, one_by_one, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        model.read(tokens[3:4, 10:].split(97, 1)), one_by_one[3:4], rtol=1e-4, atol=1e-5
    )
