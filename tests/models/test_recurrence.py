"""A base at a time equals the whole sequence at once."""

import pytest
import torch

from dnamamba.models import LanguageModel, MambaConfig


def build(**shape: int) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(**{"d_model": 32, "n_layer": 3, **shape}), backend="reference")


@pytest.mark.parametrize("shape", [{}, {"d_conv": 1}, {"d_state": 5, "dt_rank": 7, "expand": 3}])
def test_steps_equal_the_parallel_forward(shape: dict[str, int]) -> None:
    model = build(**shape).double()
    tokens = torch.randint(0, 5, (3, 40), dtype=torch.uint8)
    recurrence = model.backbone.recurrence(3, torch.float64)
    with torch.no_grad():
        whole = model(tokens)
        for position in range(40):
            logits = recurrence.step(tokens[:, position])
            torch.testing.assert_close(logits, whole.logits[:, position], rtol=1e-12, atol=1e-13)
    for ours, theirs in zip(recurrence.state, whole.state, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_batch_resumes_from_one_prefix() -> None:
    model = build()
    tokens = torch.randint(0, 5, (4, 30), dtype=torch.uint8)
    tokens[:, :20] = tokens[0, :20]
    recurrence = model.backbone.recurrence(4, torch.float32)
    addresses = [tensor.data_ptr() for layer in recurrence.state for tensor in layer]
    with torch.no_grad():
        recurrence.load(model(tokens[:1, :20]).state)
        whole = model(tokens).logits
    for position in range(20, 30):
        logits = recurrence.step(tokens[:, position])
        torch.testing.assert_close(logits, whole[:, position], rtol=1e-5, atol=1e-6)
    assert [tensor.data_ptr() for layer in recurrence.state for tensor in layer] == addresses


def test_bfloat16_products_are_those_of_autocast() -> None:
    model = build()
    tokens = torch.randint(0, 4, (2, 60), dtype=torch.uint8)
    recurrence = model.backbone.recurrence(2, torch.bfloat16)
    steps = torch.stack([recurrence.step(tokens[:, position]) for position in range(60)], dim=1)
    assert steps.dtype == torch.float32
    with torch.no_grad():
        exact = model(tokens).logits
        with torch.autocast("cpu", torch.bfloat16):
            cast = model(tokens).logits.float()
    budget = (cast - exact).norm()
    assert 0 < (steps - exact).norm() < 1.2 * budget
