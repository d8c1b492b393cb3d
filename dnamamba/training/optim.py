"""AdamW with the paper's groups, and its learning rate as a pure function of the step."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dnamamba.errors import UserError

NEVER_DECAYED = ("bias",)  # by the last part of a name; a family adds its own (`Backbone.undecayed`)


_NORMS = (nn.RMSNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Schedule:
    """Linear warmup, then cosine decay (Gu and Dao 2023, appendix E).

    Args:
        max_steps: optimiser steps of the whole run.
        learning_rate: the peak, reached at the end of the warmup.
        final_learning_rate: where the cosine ends.
        warmup_fraction: share of `max_steps` spent warming up.

    Raises:
        UserError: a number is out of range; the message names it.
    """

    max_steps: int
    learning_rate: float
    final_learning_rate: float
    warmup_fraction: float

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise UserError(f"train.max_steps: must be at least 1 (got {self.max_steps})")
        if self.learning_rate <= 0:
            raise UserError(f"train.learning_rate: must be positive (got {self.learning_rate})")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise UserError(
                f"train.final_learning_rate: must lie between 0 and train.learning_rate={self.learning_rate} "
                f"(got {self.final_learning_rate})"
            )
        if not 0 <= self.warmup_fraction <= 1:
            raise UserError(f"train.warmup_fraction: must lie between 0 and 1 (got {self.warmup_fraction})")

    @property
    def warmup_steps(self) -> int:
        """Steps of rising learning rate."""
        return round(self.warmup_fraction * self.max_steps)

    def __call__(self, step: int) -> float:
        """Return the learning rate of optimiser step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.max_steps - 1 - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict]:
    """Group weights that decay apart from those that never do; frozen ones are in no group.

    Biases and norms never decay, nor what the backbone names in `undecayed`: decaying Mamba's A_log would
    pull every state's time constant to the same value, and D's skip to nothing.

    Args:
        model: has the parameters, and perhaps a `backbone`.
        weight_decay: of those that decay.
        layer_decay: the learning rate of a block relative to that of the one above it; what lies above all
            blocks has the whole. One pair of groups per value.
    """
    backbone = getattr(model, "backbone", None)
    never_decayed = (*NEVER_DECAYED, *getattr(backbone, "undecayed", ()))
    norms = {id(module.weight) for module in model.modules() if isinstance(module, _NORMS)}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        never = id(parameter) in norms or name.rpartition(".")[2] in never_decayed
        if parameter.requires_grad:
            scale = layer_scale(name, backbone, layer_decay)
            groups.setdefault((scale, never), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": 0.0 if never else weight_decay, "scale": size}
        for (size, never), parameters in sorted(groups.items(), key=lambda group: (-group[0][0], group[0][1]))
    ]


def layer_scale(name: str, backbone: Any, decay: float) -> float:
    """Return a parameter's relative learning rate: decay ** (blocks between it and the head).

    Args:
        name: of the parameter in the model.
        backbone: of the model, see `dnamamba.models.Backbone`.
        decay: from one block to the one below it.
    """
    part, _, own = name.partition(".")
    if decay == 1.0 or part != "backbone":
        return 1.0
    return decay ** (backbone.config.depth + 1 - backbone.depth_of(own))


def adamw(
    model: nn.Module,
    schedule: Schedule,
    *,
    weight_decay: float,
    betas: tuple[float, float],
    epsilon: float = 1e-8,
    layer_decay: float = 1.0,
) -> torch.optim.AdamW:
    """Build AdamW over `parameter_groups`, in one fused kernel per device.

    Args:
        model: whose trainable parameters are updated.
        schedule: of the learning rate.
        weight_decay, betas, epsilon: of AdamW.
        layer_decay: learning rate of a block relative to the one above.
    """
    groups = parameter_groups(model, weight_decay, layer_decay)
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=betas, eps=epsilon, fused=True)
