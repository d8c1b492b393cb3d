"""Causal language modelling: predict the next base."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.text import Perplexity

from dnamamba.data.alphabet import Alphabet
from dnamamba.models import LanguageModel
from dnamamba.training.module import Batch, SteppedTask
from dnamamba.training.optim import Schedule

IGNORED = -100


def targets_of(tokens: Tensor, scored: Tensor) -> Tensor:
    """The next base at each position, int64 [B, L]; `IGNORED` where it is N or padding.

    Args:
        tokens: uint8 [B, L + 1].
        scored: bool [256], the ids that count.
    """
    targets = tokens[:, 1:].long()
    return targets.masked_fill(~scored[targets], IGNORED)


class NextBase(SteppedTask):
    """Next-base cross-entropy, in nats inside and bits per base outside.

    A batch has `tokens`, uint8 [B, L + 1], and in training `index`, int64 [B], the samples' numbers.

    Args:
        model: the language model to train.
        alphabet: which ids count in the loss.
        options: of `SteppedTask`.
    """

    scored: Tensor

    def __init__(self, model: LanguageModel, alphabet: Alphabet, schedule: Schedule, **options: Any) -> None:
        super().__init__(model, schedule, **options)
        self.register_buffer("scored", torch.from_numpy(alphabet.scored.copy()), persistent=False)
        self.perplexity = Perplexity(ignore_index=IGNORED)
        self.accuracy = MulticlassAccuracy(
            model.config.padded_vocab_size, ignore_index=IGNORED, average="micro", validate_args=False
        )

    def loss_sum(self, batch: Batch) -> Tensor:
        """Cross-entropy in nats, added up over the targets that count."""
        logits = self.model(batch["tokens"][:, :-1]).logits
        targets = targets_of(batch["tokens"], self.scored)
        return F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def number_of_targets(self, batch: Batch) -> Tensor:
        """The bases but the first of each window, N and padding left out."""
        return self.scored[batch["tokens"][:, 1:].int()].sum()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One optimiser step, and what it cost."""
        loss = super().training_step(batch, index)
        self.log("train/bits_per_base", loss / math.log(2))
        self.log("train/length", float(batch["tokens"].shape[1] - 1))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Score one batch of held-out windows."""
        self._score(batch)

    def test_step(self, batch: Batch, index: int) -> None:
        """Score one batch of test windows."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Report what the held-out windows cost."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Report what the test windows cost."""
        self._report("test")

    def _score(self, batch: Batch) -> None:
        logits = self.model(batch["tokens"][:, :-1]).logits.float()
        targets = targets_of(batch["tokens"], self.scored)
        self.perplexity.update(logits, targets)
        self.accuracy.update(logits.flatten(0, 1), targets.flatten())

    def _report(self, prefix: str) -> None:
        perplexity = self.perplexity.compute()
        self.log(f"{prefix}/perplexity", perplexity)
        self.log(f"{prefix}/bits_per_base", torch.log2(perplexity))
        self.log(f"{prefix}/accuracy", self.accuracy.compute())
        self.perplexity.reset()
        self.accuracy.reset()
