"""What every fine-tuning is made of: the first weights, what of the model learns, the best validation."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from dnamamba.auto import AUTO, check_number_or_auto
from dnamamba.errors import UserError
from dnamamba.models import ModelConfig
from dnamamba.models.pooling import MODES
from dnamamba.models.readout import check_convolutions
from dnamamba.models.sequence import LEARNT, STRANDS
from dnamamba.objectives.base import Objective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.keep_best import KeepBest
from dnamamba.training.lora import add_adapters
from dnamamba.training.module import trainable
from dnamamba.training.run import Fit, Report, size_of


@dataclass(frozen=True)
class Pooling:
    """The `decoder` group: what the head reads, of which strands; conf/finetune.yaml explains each key."""

    mode: str = AUTO
    strand: str = "forward"
    context: str = AUTO
    conv: Any = AUTO

    def __post_init__(self) -> None:
        choices = {"mode": (AUTO, *MODES, *LEARNT), "strand": STRANDS, "context": (AUTO, *STRANDS)}
        for key, known in choices.items():
            if getattr(self, key) not in known:
                one_of = ", ".join(known)
                raise UserError(f"decoder.{key}: must be one of {one_of} (got {getattr(self, key)!r})")
        check_number_or_auto("decoder.conv", self.conv, whole=True)
        if self.conv != AUTO:
            check_convolutions(self.conv)

    def settled(self, mode: str, context: str = "forward", conv: int = 0) -> "Pooling":
        """Return the pooling with values for what is `auto`; what is given stays.

        Args:
            mode, context, conv: the values.
        """
        return replace(
            self,
            mode=mode if self.mode == AUTO else self.mode,
            context=context if self.context == AUTO else self.context,
            conv=conv if self.conv == AUTO else self.conv,
        )


class Start(NamedTuple):
    """What a backbone begins with.

    Attributes:
        weights: by name; None: they are drawn.
        shape: of the backbone.
        source: what to call where they are from.
    """

    weights: dict[str, Tensor] | None
    shape: ModelConfig
    source: str


class Tuned(NamedTuple):
    """What is fine-tuned, for what, and how it is reported.

    Attributes:
        model: with a decoder.
        objective: what it is trained for.
        report: what is printed and written.
        best: keeps the best validation.
        unchanged: settings of the decoder that a resumed run must find again.
        fit: finds the weights in another way than by gradient.
    """

    model: Any
    objective: Objective
    report: Report
    best: KeepBest
    unchanged: list[str]
    fit: Fit | None = None


def adapt(model: Any, start: Start, task: TaskConfig, *, activation_checkpointing: bool) -> str:
    """Give a model its first weights and freeze or wrap what does not learn; return what to call it.

    Args:
        model: with a backbone as `start` has it.
        start: what it begins with.
        task: says what learns.
        activation_checkpointing: whether activations are computed again in the backward.
    """
    if start.weights is not None:
        model.backbone.load_state_dict(start.weights)
    model.backbone.activation_checkpointing = activation_checkpointing
    if task.freeze or task.fit == "closed":
        model.backbone.requires_grad_(False)
    if task.lora_rank:
        add_adapters(model, task.lora_rank, task.lora_alpha)
    return f"{size_of(model)}, {trainable(model):,} of them trainable, from {start.source}"


def best_of(task: TaskConfig, lower_is_better: tuple[str, ...]) -> KeepBest:
    """Return what keeps the best validation, by the metric that the task monitors."""
    lower = task.monitor in lower_is_better
    return KeepBest(task.monitor, task.patience, restores=task.keep_best, lower_is_better=lower)
