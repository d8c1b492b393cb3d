"""Nats per base in float64: of many bases, and of answers that are nearly sure."""

import math

import pytest
import torch
from torch import Tensor

from dnamamba import LanguageModel, MambaConfig
from dnamamba.models.language import LanguageModelOutput
from dnamamba.objectives.masked import MaskedBases
from dnamamba.objectives.next_base import NextBase
from dnamamba.objectives.tally import Tally

IGNORED = -100


def test_nats_and_right_answers_are_those_of_float64() -> None:
    torch.manual_seed(0)
    logits, targets = 20 * torch.randn(3, 50, 8), torch.randint(8, (3, 50))
    targets[:, ::7] = IGNORED
    tally = Tally(IGNORED)
    for some, those in zip(logits, targets, strict=True):
        tally.update(some, those)
    there = targets != IGNORED
    chances = logits.double().log_softmax(-1)[there].gather(1, targets[there][:, None])
    found = tally.named("bits")
    assert found["bits"].item() == pytest.approx(-chances.mean().item() / math.log(2), rel=1e-14)
    assert found["perplexity"].item() == pytest.approx(math.exp(-chances.mean().item()), rel=1e-13)
    assert found["accuracy"].item() == (logits.argmax(-1) == targets)[there].double().mean().item()


@pytest.mark.parametrize(("gap", "nats"), [(20.0, math.log1p(math.exp(-20))), (-200.0, 200.0)])
def test_sure_answers_cost_what_they_cost(gap: float, nats: float) -> None:
    """Of probabilities in float32 the first costs nothing and the second without end."""
    tally = Tally(IGNORED)
    tally.update(torch.tensor([[gap, 0.0]]), torch.tensor([0]))
    assert tally.compute()[0].item() == pytest.approx(nats, rel=1e-12)


def test_many_bases_are_all_counted() -> None:
    """Above 2^24 a float32 does not change when 1 is added."""
    tally = Tally(IGNORED)
    tally.sums = torch.tensor([2.0**25, 2.0**25, 0.0], dtype=torch.float64)
    for _ in range(4):
        tally.update(torch.zeros(1, 8), torch.tensor([0]))
    assert tally.sums.tolist() == [pytest.approx(2**25 + 4 * math.log(8), rel=1e-14), 2**25 + 4, 4]


def test_counts_stay_float64_wherever_the_meter_moves() -> None:
    tally = Tally(IGNORED).half()
    tally.update(torch.zeros(1, 8), torch.tensor([0]))
    tally.to(torch.float32).reset()
    assert tally.sums.dtype == torch.float64


class Fixed(LanguageModel):
    """Sure of A everywhere."""

    def forward(self, tokens: Tensor, state: object = None) -> LanguageModelOutput:
        logits = torch.zeros(*tokens.shape, 8)
        logits[..., 1] = 30.0
        return LanguageModelOutput(logits, state)


@pytest.mark.parametrize("objective", [NextBase, MaskedBases])
def test_meters_report_what_float64_gives(objective: type) -> None:
    config = MambaConfig(8, 1)
    meter = objective(config).meter()
    tokens = torch.ones(2, 41, dtype=torch.uint8)
    meter.update(Fixed(config), {"tokens": tokens, "index": torch.arange(2)})
    found = meter.compute()
    assert found[meter.headline].item() == pytest.approx(
        math.log1p(7 * math.exp(-30)) / math.log(2), rel=1e-9
    )
    assert found["accuracy"].item() == 1.0
