"""The contract of an objective: what a model is trained for, and how well it does on data that is held out.

No Lightning here: an objective is given a model and a batch. In a run, `training/module.py` calls it.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dnamamba.errors import UserError, missing
from dnamamba.kernels.ranks import Ranks

Batch = dict[str, Tensor]
"""Tensors whose first dimension counts samples; `tokens` uint8 [B, L] and `index` int64 [B] among them."""


class Chunks(NamedTuple):
    """The loss sum of a micro-batch as `training.chunks.chunked_backward` takes it.

    Attributes:
        model: reads tokens after a state: `model(tokens, state)` is the output and the state behind it.
        tokens: [B, L], padded on the right.
        targets_of: what a span's term needs to know, on the device.
        term_of: from a span's output and these targets; a scalar, or with `loss_of` any tensor.
        loss_of: from the sum of the terms; None: the loss is that sum.
        after: of tokens and a state, the state behind them, without gradients; None: `model` says it too.
    """

    model: nn.Module
    tokens: Tensor
    targets_of: Callable[[slice], Tensor]
    term_of: Callable[[Tensor, Tensor], Tensor]
    loss_of: Callable[[Tensor], Tensor] | None = None
    after: Callable[[Tensor, Any], Any] | None = None


class Meter(nn.Module):
    """Adds up what held-out batches show. Its states are shared by the processes of a run (torchmetrics).

    Attributes:
        headline: the metric that a result is known by, one of the keys of `compute`.
        lower_is_better: of the headline; else higher is.
        scored: what the last `compute` was of, for a report; None of a meter that keeps no samples.
        chunk: positions to read at a time, the state carried; None reads sequences whole.
        ranks: processes that read each sequence, and each chunk of it, together; see `Objective.divisible`.
    """

    headline: str
    lower_is_better: ClassVar[bool] = True
    scored: Any = None
    chunk: int | None = None
    ranks: Ranks | None = None

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Count in a batch, [B, ...]."""
        raise missing(self, "update")

    def compute(self) -> dict[str, Tensor | float]:
        """Return every metric of all batches since the last reset, the same in all processes."""
        raise missing(self, "compute")

    def reset(self) -> None:
        """Forget all batches."""
        raise missing(self, "reset")


class Objective(nn.Module):
    """A loss. Buffers move with the run; there are no parameters.

    Attributes:
        needs: which of `models.base.CAPABILITIES` a backbone must have.
        divisible: whether loss and metrics of tokens [B, L + 1] are sums over contiguous parts of them, each
            with the first base of the next one, when the model's state crosses from part to part.
        chunks_of_backbone: whether `chunks` has a part of the model read, which FSDP can't share out.
        capturable: whether a CUDA graph can hold the `term_of` of `chunks`: it has no memory, and everything
            that it needs of a batch comes through its arguments.
        packs: whether rows of different lengths are read packed, by a backbone that gains by it.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    divisible: ClassVar[bool] = False
    chunks_of_backbone: ClassVar[bool] = False
    capturable: ClassVar[bool] = False
    packs: ClassVar[bool] = False

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the losses of a micro-batch, in nats, added up over its targets."""
        raise missing(self, "loss_sum")

    def check_chunks(self) -> None:
        """Check that the loss can be added up over chunks of sequences, see `chunks`.

        Raises:
            UserError: it can't.
        """
        if type(self).chunks is Objective.chunks:
            raise UserError(
                f"train.chunk_bases: the objective {type(self).__name__} reads sequences whole (it has no "
                "chunks()); leave train.chunk_bases null"
            )

    def chunks(self, model: nn.Module, batch: Batch, multiple: int = 1) -> Chunks:
        """Split `loss_sum` of a micro-batch over chunks of its sequences, for `train.chunk_bases`.

        Args:
            model: of the run.
            batch: the micro-batch.
            multiple: of which the batch has, and the chunks' tokens must have, positions; 1 unless the
                objective is `divisible`.
        """
        raise missing(self, "chunks")

    def number_of_targets(self, batch: Batch) -> Tensor:
        """Count the targets of a batch that enter the loss, an integer tensor on its device."""
        raise missing(self, "number_of_targets")

    def meter(self) -> Meter:
        """Return a fresh meter for held-out data."""
        raise missing(self, "meter")

    def logged(self, loss: Tensor, batch: Batch) -> dict[str, Tensor | float]:
        """Return what else to log of a step, by name without `train/`; `loss` is a scalar, per target."""
        return {}

    def unchanged(self) -> dict[str, Any]:
        """Return plain values that a resumed run must find again."""
        return {}


def shown(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the same metrics as plain numbers."""
    return {
        name: value.item() if isinstance(value, torch.Tensor) else value for name, value in metrics.items()
    }
