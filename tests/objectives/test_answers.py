"""Answers at the end of a sequence: loss, accuracy by length, pieces and chunks."""

import math

import pytest
import torch

from dnamamba import LanguageModel, MambaConfig
from dnamamba.objectives import answers
from dnamamba.objectives.answers import Answers, AtLength
from dnamamba.training.chunks import chunked_backward

CONFIG = MambaConfig(8, 1, alphabet="symbols", vocab_size=16)


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(CONFIG).double()


def batch(length: int, rows: int = 3, asked: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(0, 16, (rows, length), generator=generator, dtype=torch.uint8)
    found = torch.randint(0, 16, (rows, asked), generator=generator, dtype=torch.uint8)
    return {"tokens": tokens, "answers": found, "index": torch.arange(rows)}


def test_loss_is_of_last_positions_alone(model: LanguageModel) -> None:
    given = batch(9)
    logits = model(given["tokens"]).logits.log_softmax(-1)
    expected = -sum(logits[row, 7 + i, int(given["answers"][row, i])] for row in range(3) for i in range(2))
    loss = Answers(CONFIG).loss_sum(model, given)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    assert Answers(CONFIG).number_of_targets(given).item() == 6


def test_chunks_give_loss_and_gradients_of_whole(model: LanguageModel) -> None:
    objective, given = Answers(CONFIG), batch(9)
    loss = objective.loss_sum(model, given)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    tokens_model, tokens, targets_of, term_of, loss_of, after = objective.chunks(model, given)
    found = chunked_backward(tokens_model, tokens, 4, targets_of, term_of, loss_of, after=after)
    torch.testing.assert_close(found.double(), loss.detach().double(), rtol=1e-6, atol=0)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-8)


class Copies(torch.nn.Module):
    """Says the token that it reads, with probability e^2 / (e^2 + 15)."""

    class backbone:  # noqa: N801
        recurrent = False

    def forward(self, tokens: torch.Tensor, state: None = None) -> tuple[torch.Tensor, None]:
        return 2 * torch.nn.functional.one_hot(tokens.long(), 16).float(), None


def test_accuracy_is_counted_by_length() -> None:
    meter = Answers(CONFIG).meter()
    for length, wrong in ((4, 0), (8, 3), (8, 1)):
        given = batch(length)
        given["answers"] = given["tokens"][:, -2:].clone()
        given["answers"].view(-1)[:wrong] ^= 1
        meter.update(Copies(), given)
    found = meter.compute()
    assert meter.scored == (AtLength(4, 6, 6), AtLength(8, 8, 12))
    assert found["accuracy"].item() == pytest.approx(14 / 18)
    certain = math.log(math.exp(2) + 15)
    assert found["loss"].item() == pytest.approx((14 * (certain - 2) + 4 * certain) / 18, rel=1e-6)
    meter.reset()
    meter.update(Copies(), batch(16))
    meter.compute()
    assert [row.length for row in meter.scored] == [16]


@pytest.mark.parametrize("piece", [1, 3, 8])
def test_pieces_give_answers_of_whole(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """Of 3 answers some lie in the piece before the last; the last piece may have one position."""
    tokens = batch(10)["tokens"]
    expected = model(tokens).logits[:, -3:]
    monkeypatch.setattr(answers, "PIECE", piece)
    torch.testing.assert_close(answers.answers_of(model, tokens, 3), expected.detach(), rtol=1e-9, atol=1e-12)


def test_model_without_state_reads_whole_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PIECE", 1)
    assert answers.answers_of(Copies(), torch.tensor([[3, 5, 7]]), 2).argmax(-1).tolist() == [[5, 7]]
