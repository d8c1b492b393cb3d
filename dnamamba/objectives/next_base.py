"""Causal language modelling: predict the next base."""

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnamamba.data.alphabet import get_alphabet
from dnamamba.models import LanguageModel, ModelConfig
from dnamamba.models.reading import spans
from dnamamba.objectives.base import Batch, Chunks, Meter, Objective
from dnamamba.objectives.tally import Tally

IGNORED = -100
# Indices into a table take four bytes per base: of a chromosome they are made piece by piece.
_COUNTED_AT_A_TIME = 2**22


def targets_of(tokens: Tensor, scored: Tensor) -> Tensor:
    """Return the next base at each position, int64 [B, L]; `IGNORED` where it is N or padding.

    Args:
        tokens: uint8 [B, L + 1].
        scored: bool [256], the ids that count.
    """
    targets = tokens[:, 1:].long()
    return targets.masked_fill(~scored[targets], IGNORED)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy in nats, added up over the targets that count."""
    return F.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


class NextBase(Objective):
    """Next-base cross-entropy of a `LanguageModel`, in nats inside and bits per base outside.

    A batch has `tokens`, uint8 [B, L + 1].

    Args:
        config: the model's; its alphabet says which ids count.
    """

    needs = ("causal",)
    divisible = capturable = True
    scored: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.unit = get_alphabet(config.alphabet).unit
        scored = torch.from_numpy(get_alphabet(config.alphabet).scored.copy())
        self.register_buffer("scored", scored, persistent=False)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return cross-entropy in nats, added up over the targets that count."""
        logits = cast(LanguageModel, model)(batch["tokens"][:, :-1]).logits
        return _cross_entropy(logits, targets_of(batch["tokens"], self.scored))

    def chunks(self, model: nn.Module, batch: Batch, multiple: int = 1) -> Chunks:
        """See `Objective.chunks`; what follows the last target of all rows is not read."""
        tokens = batch["tokens"]
        counts = torch.cat([part.any(0) for part in self._counted(tokens)])
        after = int(counts.flip(0).to(torch.uint8).argmax()) if bool(counts.any()) else 0
        after -= after % multiple
        tokens = tokens[:, : tokens.shape[1] - after]
        return Chunks(
            model,
            tokens[:, :-1],
            lambda span: targets_of(tokens[:, span.start : span.stop + 1], self.scored),
            _cross_entropy,
            after=cast(LanguageModel, model).after,
        )

    def number_of_targets(self, batch: Batch) -> Tensor:
        """Count the bases except the first of each window, N and padding left out."""
        return torch.stack([part.sum() for part in self._counted(batch["tokens"])]).sum()

    def _counted(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield whether each target of tokens [B, L + 1] counts, bool [B, l], by pieces."""
        return (self.scored[part.int()] for part in tokens[:, 1:].split(_COUNTED_AT_A_TIME, 1))

    def meter(self) -> "NextBaseMeter":
        """Return a meter of perplexity, bits per base and accuracy."""
        return NextBaseMeter(self.scored, self.unit)

    def logged(self, loss: Tensor, batch: Batch) -> dict[str, Tensor | float]:
        """Return bits per base of the scalar `loss`, and the length of the step's windows."""
        return {f"bits_per_{self.unit}": loss / math.log(2), "length": float(batch["tokens"].shape[1] - 1)}


class NextBaseMeter(Meter):
    """What the bases of held-out windows cost a model.

    Args:
        scored: bool [256], the ids that count.
        unit: what an id stands for, in the headline's name.
    """

    counted: Tensor

    def __init__(self, scored: Tensor, unit: str = "base") -> None:
        super().__init__()
        self.headline = f"bits_per_{unit}"
        self.register_buffer("counted", scored.clone(), persistent=False)
        self.tally = Tally(IGNORED)

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Count in a batch of windows."""
        tokens, state = batch["tokens"], None
        for start, stop in spans(tokens.shape[1] - 1, self.chunk or tokens.shape[1]):
            bases = tokens[:, start:stop]
            targets = targets_of(tokens[:, start : stop + 1], self.counted)
            if self.ranks is not None:
                bases, targets = self.ranks.part(bases), self.ranks.part(targets)
            logits, state = cast(LanguageModel, model)(bases, state)
            self.tally.update(logits, targets)

    def compute(self) -> dict[str, Any]:
        """Return perplexity, bits per base and accuracy of all windows."""
        return self.tally.named(self.headline)

    def reset(self) -> None:
        """Forget all windows."""
        self.tally.reset()
