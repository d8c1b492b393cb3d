"""Causal language modelling: predict the next base."""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.text import Perplexity

from dnamamba.data.alphabet import get_alphabet
from dnamamba.models import LanguageModel, ModelConfig
from dnamamba.objectives.base import Batch, Meter, Objective

IGNORED = -100


def targets_of(tokens: Tensor, scored: Tensor) -> Tensor:
    """The next base at each position, int64 [B, L]; `IGNORED` where it is N or padding.

    Args:
        tokens: uint8 [B, L + 1].
        scored: bool [256], the ids that count.
    """
    targets = tokens[:, 1:].long()
    return targets.masked_fill(~scored[targets], IGNORED)


class NextBase(Objective):
    """Next-base cross-entropy of a `LanguageModel`, in nats inside and bits per base outside.

    A batch has `tokens`, uint8 [B, L + 1].

    Args:
        config: the model's; its alphabet says which ids count.
    """

    needs = ("causal",)
    divisible = True
    scored: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.classes = config.padded_vocab_size
        scored = torch.from_numpy(get_alphabet(config.alphabet).scored.copy())
        self.register_buffer("scored", scored, persistent=False)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy in nats, added up over the targets that count."""
        logits = cast(LanguageModel, model)(batch["tokens"][:, :-1]).logits
        targets = targets_of(batch["tokens"], self.scored)
        return F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def number_of_targets(self, batch: Batch) -> Tensor:
        """The bases but the first of each window, N and padding left out."""
        return self.scored[batch["tokens"][:, 1:].int()].sum()

    def meter(self) -> "NextBaseMeter":
        """Perplexity, bits per base and accuracy."""
        return NextBaseMeter(self.scored, self.classes)

    def logged(self, loss: Tensor, batch: Batch) -> dict[str, Tensor | float]:
        """Bits per base, and the length of the step's windows."""
        return {"bits_per_base": loss / math.log(2), "length": float(batch["tokens"].shape[1] - 1)}


class NextBaseMeter(Meter):
    """What the bases of held-out windows cost a model.

    Args:
        scored: bool [256], the ids that count.
        classes: number of logits.
    """

    headline = "bits_per_base"
    counted: Tensor

    def __init__(self, scored: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("counted", scored.clone(), persistent=False)
        self.perplexity = Perplexity(ignore_index=IGNORED)
        self.accuracy = MulticlassAccuracy(
            classes, ignore_index=IGNORED, average="micro", validate_args=False
        )

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Count in a batch of windows."""
        logits = cast(LanguageModel, model)(batch["tokens"][:, :-1]).logits.float()
        targets = targets_of(batch["tokens"], self.counted)
        self.perplexity.update(logits, targets)
        self.accuracy.update(logits.flatten(0, 1), targets.flatten())

    def compute(self) -> dict[str, Any]:
        """Perplexity, bits per base and accuracy of all windows."""
        perplexity = self.perplexity.compute()
        return {
            "perplexity": perplexity,
            "bits_per_base": torch.log2(perplexity),
            "accuracy": self.accuracy.compute(),
        }

    def reset(self) -> None:
        """Forget all windows."""
        self.perplexity.reset()
        self.accuracy.reset()
