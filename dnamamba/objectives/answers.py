"""Answers at the end of a sequence, as the synthetic tasks ask for."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.models import LanguageModel, ModelConfig
from dnamamba.models.reading import spans
from dnamamba.objectives.base import Batch, Chunks, Meter, Objective
from dnamamba.objectives.tally import ExactMetric, counted

IGNORED = -100
PIECE = 1 << 15  # positions of a held-out sequence that a recurrent model reads at a time


def _cross_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    """Return the cross-entropy in nats, added up over the answers."""
    flat = answers.long().flatten()
    return F.cross_entropy(logits.float().flatten(0, 1), flat, ignore_index=IGNORED, reduction="sum")


class Answers(Objective):
    """Cross-entropy of a `LanguageModel` at the last positions alone, which have answers.

    A batch has `tokens`, uint8 [B, L], and `answers`, uint8 [B, A], of the last A positions.

    Args:
        config: of the model.
    """

    needs = ("causal",)
    capturable = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats, added up over the answers."""
        answers = batch["answers"]
        logits = cast(LanguageModel, model)(batch["tokens"]).logits
        return _cross_entropy(logits[:, -answers.shape[1] :], answers)

    def chunks(self, model: nn.Module, batch: Batch, multiple: int = 1) -> Chunks:
        """See `Objective.chunks`."""
        tokens, answers = batch["tokens"], batch["answers"].long()
        unasked = tokens.shape[1] - answers.shape[1]
        targets = F.pad(answers, (unasked, 0), value=IGNORED)
        return Chunks(
            model,
            tokens,
            lambda span: targets[:, span],
            _cross_entropy,
            after=cast(LanguageModel, model).after,
        )

    def number_of_targets(self, batch: Batch) -> Tensor:
        """Count the answers."""
        return torch.tensor(batch["answers"].numel(), device=batch["answers"].device)

    def meter(self) -> "AnswersMeter":
        """Return a meter of accuracy, in all and by length."""
        return AnswersMeter()

    def logged(self, loss: Tensor, batch: Batch) -> dict[str, Tensor | float]:
        """Return the length of the step's sequences."""
        return {"length": float(batch["tokens"].shape[1])}


class AtLength(NamedTuple):
    """How many answers to sequences of one length are right."""

    length: int
    right: int
    answers: int


class AnswersMeter(Meter):
    """The share of answers that are right: all of them, and in `scored` by the length of their sequences.

    A recurrent model reads pieces with its state carried, in memory that does not grow with the length.
    """

    headline = "accuracy"
    lower_is_better = False
    scored: tuple[AtLength, ...]

    def __init__(self) -> None:
        super().__init__()
        self.counts = _Counts()

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Count in a batch of sequences of one length."""
        answers = batch["answers"]
        logits = answers_of(cast(LanguageModel, model), batch["tokens"], answers.shape[1])
        sums = counted(logits.flatten(0, 1), answers.long().flatten(), IGNORED)
        self.counts.update(batch["tokens"].shape[1], sums)

    def compute(self) -> dict[str, Any]:
        """Return accuracy and loss, in nats per answer."""
        length, nats, answers, right = self.counts.compute()
        found = zip(length.tolist(), right.tolist(), answers.tolist(), strict=True)
        self.scored = tuple(AtLength(*map(int, row)) for row in found if row[2])
        total = answers.sum()
        return {"accuracy": right.sum() / total, "loss": nats.sum() / total}

    def reset(self) -> None:
        """Forget all sequences."""
        self.counts.reset()


@torch.no_grad()
def answers_of(model: LanguageModel, tokens: Tensor, answers: int) -> Tensor:
    """Return the logits of the last positions, [B, A, V], of tokens [B, L] read in pieces if they can be.

    Args:
        model: causal.
        tokens: [B, L].
        answers: how many positions A.
    """
    tail: Tensor | None = None
    for logits in _pieces(model, tokens):
        tail = logits if tail is None else torch.cat([tail, logits], 1)
        tail = tail[:, -answers:]
    assert tail is not None
    return tail


def _pieces(model: LanguageModel, tokens: Tensor) -> Iterator[Tensor]:
    length, state = tokens.shape[1], None
    for start, stop in spans(length, PIECE if model.backbone.recurrent else length):
        logits, state = model(tokens[:, start:stop], state)
        yield logits


class _Counts(ExactMetric):
    """Nats, answers and right ones of each length, one per power of two; summed over processes."""

    length: Tensor
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("length", torch.zeros(64, dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("sums", torch.zeros(3, 64, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, length: int, sums: Tensor) -> None:
        row = length.bit_length() - 1
        self.length[row] = length
        self.sums[:, row] += sums.to(self.sums.device)

    def compute(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.length, *self.sums
