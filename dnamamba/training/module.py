"""One optimiser step per training batch: micro-batches, clipping, AdamW and the learning rate.

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
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from dnamamba.errors import UserError
from dnamamba.kernels.ranks import Ranks
from dnamamba.objectives.base import Batch, Objective, shown
from dnamamba.training.chunk_graphs import ChunkGraphs
from dnamamba.training.chunks import chunked_backward
from dnamamba.training.config import TrainConfig
from dnamamba.training.context import batch_part, chunks_in_parts, even_batch, ranks_of_context
from dnamamba.training.optim import adamw
from dnamamba.training.progress import LINES


def parts_of(batch: Batch, size: int) -> list[Batch]:
    """Cut the batch into micro-batches of `size` samples, the last one perhaps smaller."""
    return [
        dict(zip(batch, columns, strict=True))
        for columns in zip(*(column.split(size) for column in batch.values()), strict=True)
    ]


class Task(lightning.LightningModule):
    """Trains `model` for `objective` by AdamW, and scores held-out data.

    Nothing here waits for the device before a step's work is queued, but for one number: whether the step
    before was finite, asked for when the next one begins.

    Args:
        model: what is trained; `model.backbone` is its backbone.
        objective: what it is trained for.
        train: the `train` group.
        max_steps: of the run.
        layer_decay: the learning rate of a block relative to that of the one above it.
        micro_batch: samples at a time, by the batch.
        describe: names samples by step and sample numbers, for the report of a loss that is not finite.
        context_size: neighbouring processes that are given the same batches, of which each reads a part.
        pad_id: token that makes sequences even for them.
        chunk: positions to read at a time, in training and of held-out data; None reads sequences whole.
        graphs: whether chunks are read by CUDA graphs while training.
        one_chunk: the length of every sequence, where a micro-batch is one chunk that is read by a graph.

    Attributes:
        meter: of held-out data.
        found: the metrics of the last validation or test.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        train: TrainConfig,
        max_steps: int,
        *,
        layer_decay: float = 1.0,
        micro_batch: Callable[[Batch], int],
        describe: Callable[[int, Any], list[str]],
        context_size: int = 1,
        pad_id: int = 0,
        chunk: int | None = None,
        graphs: bool = False,
        one_chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.objective = objective
        self.meter = objective.meter()
        self.meter.chunk = self.chunk = chunk
        captured = chunk if graphs else one_chunk
        self.graphs = None if captured is None else ChunkGraphs(captured)
        self.train_config = train
        self.schedule = train.schedule(max_steps)
        self.layer_decay = layer_decay
        self.micro_batch = micro_batch
        self.describe = describe
        self.context_size, self.pad_id = context_size, pad_id
        self.ranks: Ranks | None = None
        self.found: dict[str, float] = {}
        self._unchecked: tuple[int, Tensor, Tensor, Tensor] | None = None

    def setup(self, stage: str) -> None:
        """Find the processes that read a sequence together with this one."""
        if self.context_size > 1:
            if self.ranks is None:
                strategy = self.trainer.strategy
                processes, device = self.trainer.world_size, strategy.root_device.type
                self.ranks = ranks_of_context(self.context_size, processes, device)
            self.model.backbone.ranks = self.meter.ranks = self.ranks

    def teardown(self, stage: str) -> None:
        """Leave a model that reads whole sequences, and no graphs that hold memory."""
        self.graphs = None if self.graphs is None else ChunkGraphs(self.graphs.chunk)
        if self.context_size > 1:
            self.model.backbone.ranks = None

    def configure_model(self) -> None:
        """Share the weights out among the processes, where the strategy is `fsdp`."""
        if self.device_mesh is None or isinstance(self.model, FSDPModule):
            return
        mesh = self.device_mesh["data_parallel"]
        for block in self.model.backbone.blocks():
            fully_shard(block, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
        for module in (self.model, *self.model.backbone.blocks()):
            if hasattr(module, "after"):
                register_fsdp_forward_method(module, "after")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build AdamW; its learning rate is set step by step."""
        train = self.train_config
        return adamw(
            self.model,
            self.schedule,
            weight_decay=train.weight_decay,
            betas=(train.betas[0], train.betas[1]),
            epsilon=train.epsilon,
            layer_decay=self.layer_decay,
        )

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Take one optimiser step, and return its loss in nats per target, over all processes."""
        batch = self._even(batch)
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
        if self._is_read(step + 1):
            self.log("train/loss", loss)
            for name, value in self.objective.logged(loss, batch).items():
                self.log(f"train/{name}", value)
        return loss

    def _is_read(self, done: int) -> bool:
        """Return whether metrics.csv, a line or a validation reads what is logged after so many steps.

        To log takes Lightning longer than a small model's step.
        """
        train, lines = self.train_config, max(1, self.trainer.max_steps // LINES)
        return any(done % every == 0 for every in (train.log_every, lines, train.validate_every))

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count in one batch of held-out samples."""
        self.meter.update(self.model, self._even(batch))

    def test_step(self, batch: Batch, index: int) -> None:
        """Count in one batch of test samples."""
        self.meter.update(self.model, self._even(batch))

    def on_validation_epoch_end(self) -> None:
        """Report on all that was read."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Report on all that was read."""
        self._report("test")

    def _report(self, prefix: str) -> None:
        metrics = self.meter.compute()
        with torch.inference_mode(False):  # the counters may next be of a validation while training
            self.meter.reset()
        self.found = shown(metrics)
        name = "loss" if "loss" in self.found else self.meter.headline
        if not math.isfinite(self.found[name]):
            raise UserError(
                f"the {prefix} {name} is {self.found[name]:.4g} at step {self.global_step}; a lower "
                "train.learning_rate is the usual cure"
            )
        for name, value in metrics.items():
            self.log(f"{prefix}/{name}", value)

    def _even(self, batch: Batch) -> Batch:
        """Return the batch, its sequences padded on the right to make equal parts."""
        return batch if self.ranks is None else even_batch(batch, self.context_size, self.pad_id)

    def _mine(self, batch: Batch) -> Batch:
        """Return the part of a batch that this process reads."""
        return batch if self.ranks is None else batch_part(batch, self.ranks)

    def _accumulate(self, batch: Batch) -> Tensor:
        """Add gradients of the mean loss over a step's targets, of all processes; return our share of it.

        Processes average their gradients, and so their numbers of targets: each divides by the same.
        """
        strategy = self.trainer.strategy
        self.zero_grad()
        number = self.objective.number_of_targets(self._mine(batch))
        targets = strategy.reduce(number.float(), reduce_op="mean").clamp(min=1)
        parts = parts_of(batch, self.micro_batch(batch))
        total = torch.zeros((), device=self.device)
        for number_of_part, part in enumerate(parts, start=1):
            alone = number_of_part < len(parts) and isinstance(strategy, ParallelStrategy)
            with strategy.block_backward_sync() if alone else nullcontext():  # type: ignore[attr-defined]
                total += self._add_gradients(part, targets, alone)
        return total

    def _add_gradients(self, part: Batch, targets: Tensor, alone: bool) -> Tensor:
        """Add gradients of a micro-batch, and return its share of the loss, detached.

        Args:
            part: the micro-batch.
            targets: what its loss sum is divided by.
            alone: whether the processes exchange no gradients yet.
        """
        if self.chunk is None and self.graphs is None:
            loss = self.objective.loss_sum(self.model, self._mine(part)) / targets
            with torch.autocast(self.device.type, enabled=False):
                self.manual_backward(loss)
            return loss.detach()
        strategy = self.trainer.strategy
        exchanges = isinstance(strategy, ParallelStrategy) and not alone
        chunks = self.objective.chunks(self.model, part, self.context_size)
        if self.ranks is not None:
            chunks = chunks_in_parts(chunks, self.ranks)
        no_sync = strategy.block_backward_sync if exchanges else nullcontext  # type: ignore[attr-defined]

        def backward(loss: Tensor) -> None:
            self.manual_backward(loss / targets)

        if self.graphs is not None:
            return self.graphs(chunks, backward=backward, no_sync=no_sync) / targets
        assert self.chunk is not None
        model, tokens, targets_of, term_of, loss_of, after = chunks
        found = chunked_backward(
            model,
            tokens,
            self.chunk,
            targets_of,
            term_of,
            loss_of,
            after=after,
            truncated=self.train_config.backpropagation == "truncated",
            backward=backward,
            no_sync=no_sync,
        )
        return found / targets

    def _clip(self) -> Tensor:
        """Scale the gradients to the limit; returns the norm that they had, without waiting for it."""
        parameters = list(self.model.parameters())
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self.train_config.gradient_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.train_config.gradient_clip, norm)
        return norm

    def _check_finite(self) -> None:
        """Stop where the loss or a gradient of the step before was not finite.

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
        shown_names = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        gradients = [
            (parameter.grad.abs().max().nan_to_num(nan=math.inf).item(), name)
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        ]
        # Of several infinite ones the last: it is the nearest to the loss.
        size, name = max(reversed(gradients), key=lambda gradient: gradient[0])
        raise UserError(
            f"the loss is {loss.item():.4g} at step {step}, regions {shown_names}; "
            f"the largest gradient is {size:.3g}, of {name}; a lower train.learning_rate is the usual cure"
        )

    def on_validation_model_zero_grad(self) -> None:
        """Check the last step while its gradients are still there."""
        self._check_finite()
        super().on_validation_model_zero_grad()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint with weights that are not finite.

        Raises:
            UserError: the last step made them so.
        """
        self._check_finite()
        for name, parameter in self.model.named_parameters():
            local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
            if not bool(torch.isfinite(local).all()):
                raise UserError(
                    f"weights of {name} are not finite after step {self.global_step}; a lower "
                    "train.learning_rate is the usual cure"
                )


def trainable(model: nn.Module) -> int:
    """Number of parameters that a run changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
