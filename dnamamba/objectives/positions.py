"""Fine-tuning per position: the answer at every base or bin; what an answer is, its head knows."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torchmetrics import Metric

from dnamamba.errors import UserError
from dnamamba.models import PositionConfig, PositionModel
from dnamamba.models.position_reading import PIECE, read_positions
from dnamamba.objectives.base import Batch, Chunks, Meter, Objective
from dnamamba.objectives.task_config import TaskConfig


class PositionsScored(NamedTuple):
    """What a model made of a held-out split.

    Attributes:
        intervals: int64 [k], numbers of the intervals (or windows) that were read, in order.
        sizes: their positions.
        logits: float32 [n, C], of one interval after the other.
        targets: [n] or [n, T].
    """

    intervals: list[int]
    sizes: list[int]
    logits: Tensor
    targets: Tensor


class PositionObjective(Objective):
    """The loss of a `PositionModel`, per base or bin that has a target.

    A batch has `tokens`, uint8 [B, L], and `targets`, [B, bins] or [B, bins, T].

    Args:
        decoder: the head's task and pooling.
        config: the `task` group.
        weights: of the labels in the loss, float32; None: all the same.

    Raises:
        UserError: a setting that has no meaning for the question.
    """

    weights: Tensor | None

    def __init__(self, decoder: PositionConfig, config: TaskConfig, weights: Tensor | None) -> None:
        super().__init__()
        self.decoder, self.head = decoder, decoder.head
        known = ("loss", *self.head.scores)
        if config.monitor not in known:
            raise UserError(f"task.monitor: expected one of {', '.join(known)} (got {config.monitor})")
        self.register_buffer("weights", weights, persistent=False)

    def loss_sum(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """Return the losses of a micro-batch, added up over its positions."""
        positions = cast(PositionModel, model)
        logits = positions(batch["tokens"]).logits
        if positions.chain is not None:
            return positions.chain.loss_sum(logits, batch["targets"])
        return self.losses(logits, batch["targets"])

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the losses of positions, [B, n, C], added up."""
        weights = None if self.weights is None else self.weights.to(logits.device)
        return self.head.loss_sum(logits, targets, weights)

    def check_chunks(self) -> None:
        """Refuse what reads both sides of a base. See `Objective.check_chunks`."""
        decoder = self.decoder
        if decoder.context == "both" or decoder.conv:
            raise UserError(
                f"train.chunk_bases: decoder.context={decoder.context} and decoder.conv={decoder.conv} read "
                "both sides of each base; choose decoder.context=forward and decoder.conv=0, or leave "
                "train.chunk_bases null"
            )
        if decoder.chain:
            raise UserError(
                "train.chunk_bases: data.chain=true compares whole windows; set data.chain=false, or leave "
                "train.chunk_bases null"
            )
        if not self.head.divisible:
            raise UserError(
                f"train.chunk_bases: data.loss={decoder.loss} compares all bins of a window; choose another "
                "loss, or leave train.chunk_bases null"
            )

    def chunks(self, model: torch.nn.Module, batch: Batch, multiple: int = 1) -> Chunks:
        """Return the same, a sum over chunks of whole bins."""
        size, targets = self.decoder.bin, batch["targets"]

        def targets_of(span: slice) -> Tensor:
            if span.start % size or span.stop % size:
                raise UserError(
                    f"train.chunk_bases: a chunk is not a whole number of bins of {size} bases; set "
                    "a multiple"
                )
            return targets[:, span.start // size : span.stop // size]

        return Chunks(model, batch["tokens"], targets_of, self.losses)

    def number_of_targets(self, batch: Batch) -> Tensor:
        """Count the positions that have a target."""
        return self.head.number(batch["targets"])

    def meter(self) -> "PositionMeter":
        """Return a meter of the head's loss and metrics."""
        return PositionMeter(self)


class _Answers(Metric):
    """Logits and targets of all processes, one after the other; they keep their dtypes."""

    full_state_update = False
    logits: list[Tensor]
    targets: list[Tensor]
    places: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("logits", "targets", "places"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor, place: Tensor) -> None:
        """Take those of an interval: [n, C], [n, ...], and its number and n."""
        self.logits.append(logits)
        self.targets.append(targets)
        self.places.append(place)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return every metric, and numbers and sizes of the intervals, int64 [k, 2]."""
        columns = self.logits, self.targets, self.places
        logits, targets, places = (
            (torch.cat(rows) if isinstance(rows, list) else rows).cpu() for rows in columns
        )
        return logits, targets, places


class PositionMeter(Meter):
    """Gathers what a model makes of every held-out position; whole records are read with the state carried.

    Args:
        objective: has the loss and the question.
    """

    headline = "loss"
    scored: PositionsScored | None

    def __init__(self, objective: PositionObjective) -> None:
        super().__init__()
        self._objective = (objective,)  # in a tuple: its buffers are the run's, not the meter's
        self.answers = _Answers()
        self.scored = None

    def update(self, model: torch.nn.Module, batch: Batch) -> None:
        """Gather the answers to windows, or to one long interval. An index below 0 counts nowhere."""
        positions = cast(PositionModel, model)
        tokens, targets = batch["tokens"], batch["targets"]
        if tokens.shape[1] > positions.decoder.window:
            rows = torch.stack([self._whole(positions, row) for row in tokens])
        else:
            rows = positions(tokens).logits
        for index, logits, row in zip(batch["index"].tolist(), rows, targets, strict=True):
            if index >= 0:
                logits = positions.decoded(logits)
                self.answers.update(logits, row, torch.tensor([[index, len(logits)]], device=logits.device))

    def compute(self) -> dict[str, Any]:
        """Return the loss per position and every metric of the head, of all processes' intervals in order."""
        objective = self._objective[0]
        logits, targets, places = self.answers.compute()
        order = places[:, 0].argsort(stable=True)
        sizes = places[:, 1].tolist()
        logits, targets = (_in_order(rows, sizes, order.tolist()) for rows in (logits, targets))
        places = places[order]
        self.scored = PositionsScored(places[:, 0].tolist(), places[:, 1].tolist(), logits, targets)
        loss = self._loss(self.scored) / objective.head.number(targets).clamp(min=1)
        found = objective.head.metrics(logits, targets).items()
        # As tensors: a logger rounds Python's numbers to float32.
        return {"loss": loss, **{name: torch.tensor(value, dtype=torch.float64) for name, value in found}}

    def reset(self) -> None:
        """Forget all positions."""
        self.answers.reset()

    def _whole(self, model: PositionModel, tokens: Tensor) -> Tensor:
        piece = self.chunk or PIECE
        return torch.cat([found.logits for found in read_positions(model, tokens, piece)])

    def _loss(self, scored: PositionsScored) -> Tensor:
        """Return the loss, added up in float64 over the intervals, because float32 loses digits."""
        objective = self._objective[0]
        pairs = zip(scored.logits.split(scored.sizes), scored.targets.split(scored.sizes), strict=True)
        losses = [objective.losses(logits[None], targets[None]).double().cpu() for logits, targets in pairs]
        return torch.stack(losses).sum()


def _in_order(rows: Tensor, sizes: list[int], order: list[int]) -> Tensor:
    parts = rows.split(sizes)
    return torch.cat([parts[place] for place in order])
