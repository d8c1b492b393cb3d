"""One optimiser step a training batch: micro-batches, clipping, AdamW and the learning rate.

Lightning counts batches and we count steps. A batch is therefore all that a process reads for one step, and
is cut into micro-batches here: validations, checkpoints and stages of other lengths then fall between steps,
and the loss is the mean over the targets of the whole step, however it was cut.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from dnamamba.errors import UserError
from dnamamba.models.mamba.backbone import MambaBlock
from dnamamba.training.optim import Schedule, adamw

Batch = dict[str, Tensor]
"""What a process reads for a step: tensors whose first dimension counts samples, `index` their numbers."""


def parts_of(batch: Batch, size: int) -> list[Batch]:
    """The batch in micro-batches of `size` samples, the last one perhaps smaller."""
    return [
        dict(zip(batch, columns, strict=True))
        for columns in zip(*(column.split(size) for column in batch.values()), strict=True)
    ]


class SteppedTask(lightning.LightningModule):
    """Trains `model` by AdamW; a subclass says what a sample costs, by `loss_sum` and `number_of_targets`.

    Nothing here waits for the device before a step's work is queued, but for one number: whether the step
    before was finite, asked for when the next one begins.

    Args:
        model: what is trained.
        schedule: the learning rate of each step.
        weight_decay, betas: AdamW's.
        gradient_clip: the most that the norm of all gradients together may be; None for no limit.
        micro_batch: samples at a time, by the batch.
        describe: names samples by step and sample numbers, for the report of a loss that is no number.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        *,
        weight_decay: float,
        betas: tuple[float, float],
        gradient_clip: float | None,
        micro_batch: Callable[[Batch], int],
        describe: Callable[[int, Any], list[str]],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.betas = betas
        self.gradient_clip = gradient_clip
        self.micro_batch = micro_batch
        self.describe = describe
        self._unchecked: tuple[int, Tensor, Tensor, Tensor] | None = None

    def loss_sum(self, batch: Batch) -> Tensor:
        """The losses of a micro-batch, in nats, added up over its targets."""
        raise NotImplementedError

    def number_of_targets(self, batch: Batch) -> Tensor:
        """How many targets of a batch count, an integer tensor on its device."""
        raise NotImplementedError

    def configure_model(self) -> None:
        """Share the weights out among the processes, where the strategy is `fsdp`."""
        if self.device_mesh is None or isinstance(self.model, FSDPModule):
            return
        mesh = self.device_mesh["data_parallel"]
        for block in self.model.modules():
            if isinstance(block, MambaBlock):
                fully_shard(block, mesh=mesh)
        fully_shard(self.model, mesh=mesh)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; its learning rate is set step by step."""
        return adamw(self.model, self.schedule, weight_decay=self.weight_decay, betas=self.betas)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One optimiser step; returns its loss in nats a target, over all processes."""
        self._check_finite()
        step = self.global_step
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = self.schedule(step) * group.get("scale", 1.0)
        loss = self._accumulate(batch)
        norm = self._clip()
        optimizer.step()
        self._unchecked = step, batch["index"], loss, norm
        loss = self.trainer.strategy.reduce(loss, reduce_op="mean")
        self.log("train/loss", loss)
        return loss

    def _accumulate(self, batch: Batch) -> Tensor:
        """Gradients of the mean loss over the targets of a step, of all processes; returns our share of it.

        Processes average their gradients, and so their numbers of targets: each divides by the same.
        """
        strategy = self.trainer.strategy
        self.zero_grad()
        targets = strategy.reduce(self.number_of_targets(batch).float(), reduce_op="mean").clamp(min=1)
        parts = parts_of(batch, self.micro_batch(batch))
        total = torch.zeros((), device=self.device)
        for number, part in enumerate(parts, start=1):
            alone = number < len(parts) and isinstance(strategy, ParallelStrategy)
            with strategy.block_backward_sync() if alone else nullcontext():  # type: ignore[attr-defined]
                loss = self.loss_sum(part) / targets
                with torch.autocast(self.device.type, enabled=False):
                    self.manual_backward(loss)
            total += loss.detach()
        return total

    def _clip(self) -> Tensor:
        """Scale the gradients to the limit; returns the norm that they had, without waiting for it."""
        parameters = list(self.model.parameters())
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self.gradient_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.gradient_clip, norm)
        return norm

    def _check_finite(self) -> None:
        """Stop where the loss or a gradient of the step before was no number.

        Raises:
            UserError: naming the step, its samples and the parameter of the largest gradient.
        """
        if self._unchecked is None:
            return
        step, index, loss, norm = self._unchecked
        self._unchecked = None
        if torch.isfinite(loss + norm):
            return
        names = self.describe(step, index.cpu().numpy())
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        gradients = [
            (parameter.grad.abs().max().nan_to_num(nan=math.inf).item(), name)
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        ]
        # Of several infinite ones the last: it is the nearest to the loss.
        size, name = max(reversed(gradients), key=lambda gradient: gradient[0])
        raise UserError(
            f"the loss is {loss.item():.4g} at step {step}, regions {shown}; "
            f"the largest gradient is {size:.3g}, of {name}; a lower train.learning_rate is the usual cure"
        )

    def on_validation_model_zero_grad(self) -> None:
        """Check the last step while its gradients are still there."""
        self._check_finite()
        super().on_validation_model_zero_grad()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """No checkpoint holds weights that are no numbers."""
        self._check_finite()
