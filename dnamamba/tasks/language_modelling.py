"""Causal language modelling: predict the next base."""

import math
from collections.abc import Callable
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.text import Perplexity

from dnamamba.data.alphabet import Alphabet
from dnamamba.errors import UserError
from dnamamba.models import LanguageModel

from .optim import Schedule, adamw

IGNORED = -100


Batch = dict[str, Tensor]
"""A micro-batch: `tokens`, uint8 [B, L + 1], and in training `index`, int64 [B], the samples' numbers."""


def targets_of(tokens: Tensor, scored: Tensor) -> Tensor:
    """The next base at each position, int64 [B, L]; `IGNORED` where it is N or padding.

    Args:
        tokens: uint8 [B, L + 1].
        scored: bool [256], the ids that count.
    """
    targets = tokens[:, 1:].long()
    return targets.masked_fill(~scored[targets], IGNORED)


class NextBase(lightning.LightningModule):
    """Next-base cross-entropy with AdamW, in nats inside and bits per base outside.

    Args:
        model: the language model to train.
        alphabet: which ids count in the loss.
        schedule: the learning rate of each step.
        weight_decay, betas: AdamW's.
        describe: names the regions of sample numbers, for the report of a non-finite loss.
    """

    scored: Tensor

    def __init__(
        self,
        model: LanguageModel,
        alphabet: Alphabet,
        schedule: Schedule,
        *,
        weight_decay: float,
        betas: tuple[float, float],
        describe: Callable[[Any], list[str]],
    ) -> None:
        super().__init__()
        self.model = model
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.betas = betas
        self.describe = describe
        self.register_buffer("scored", torch.from_numpy(alphabet.scored.copy()), persistent=False)
        self.perplexity = Perplexity(ignore_index=IGNORED)
        self.accuracy = MulticlassAccuracy(
            model.config.padded_vocab_size, ignore_index=IGNORED, average="micro", validate_args=False
        )
        self._losses: list[Tensor] = []
        self._index: Tensor | None = None

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats over the targets that count; zero if none does."""
        total = F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / (targets != IGNORED).sum().clamp(min=1)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One micro-batch."""
        logits = self.model(batch["tokens"][:, :-1]).logits
        loss = self.loss(logits, targets_of(batch["tokens"], self.scored))
        if index % self.trainer.accumulate_grad_batches == 0:
            self._losses = []
        self._losses.append(loss.detach())
        self._index = batch["index"]
        # Of a step, not of its last micro-batch: Lightning keeps what is logged last.
        mean = torch.stack(self._losses).mean()
        self.log("train/loss", mean)
        self.log("train/bits_per_base", mean / math.log(2))
        return loss

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm of all gradients together, and stop where it is no number.

        Lightning's own clipping refuses a fused optimiser under autocast, for fear of float16's loss scaling,
        which bfloat16 does without.

        Raises:
            UserError: the loss or a gradient is not finite; the weights are the last step's.
        """
        parameters = list(self.model.parameters())
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not torch.isfinite(norm + self._losses[-1]):
            raise UserError(self._what_is_not_finite())
        if gradient_clip_val is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def _what_is_not_finite(self) -> str:
        assert self._index is not None
        regions = self.describe(self._index.cpu().numpy())
        shown = ", ".join(regions[:4]) + (f" and {len(regions) - 4} more" if len(regions) > 4 else "")
        gradients = [
            (parameter.grad.abs().max().nan_to_num(nan=math.inf).item(), name)
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        ]
        # Of several infinite ones the last: it is the nearest to the loss.
        size, name = max(reversed(gradients), key=lambda gradient: gradient[0])
        return (
            f"the loss is {self._losses[-1].item():.4g} at step {self.global_step}, regions {shown}; "
            f"the largest gradient is {size:.3g}, of {name}; a lower train.learning_rate is the usual cure"
        )

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

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW and a learning rate that depends on the optimiser step alone."""
        optimizer = adamw(self.model, self.schedule, weight_decay=self.weight_decay, betas=self.betas)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.schedule(step) / self.schedule.learning_rate
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
