"""What holds for the models of every family."""

import torch

from dnamamba import LanguageModel


def assert_recomputed_gradients_are_equal(model: LanguageModel) -> None:
    """Compare gradients with and without activation checkpointing, bit for bit."""
    tokens = torch.randint(0, 4, (2, 16))
    wanted = torch.autograd.grad(model(tokens).logits.square().sum(), list(model.parameters()))
    model.backbone.activation_checkpointing = True
    found = torch.autograd.grad(model(tokens).logits.square().sum(), list(model.parameters()))
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


def assert_causal(model: LanguageModel, *, atol: float) -> None:
    """Change base 25 of 40: no logits before it change by more than `atol`, and all from it on do."""
    tokens = torch.randint(0, 4, (1, 40))
    changed = tokens.clone()
    changed[0, 25] = (changed[0, 25] + 1) % 4
    with torch.no_grad():
        before, after = model(tokens).logits, model(changed).logits
    torch.testing.assert_close(before[:, :25], after[:, :25], rtol=0, atol=atol)
    assert ((before - after)[:, 25:].abs().amax(2) > 1e-4).all()
