"""The weights of the best validation, and an end to a run that gets no better."""

import math
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from dnamamba.training.saving import give_weights, weights_of


class KeepBest(lightning.Callback):
    """Keep a copy of the best validation's weights; checkpoints hold it, so that a resumed run has it.

    Args:
        monitor: `loss` or a metric of the validation.
        patience: validations without a better one before the run ends; None never ends it.
        restores: whether the model ends with those weights, or with its last.
        lower_is_better: of `monitor`.
    """

    def __init__(
        self, monitor: str, patience: int | None, *, restores: bool = True, lower_is_better: bool = True
    ) -> None:
        self.restores = restores
        self.sign = 1 if lower_is_better else -1
        self.monitor = monitor
        self.patience = patience
        self.best = math.inf
        self.step = 0
        self.waited = 0
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Compare this validation with the best before."""
        if trainer.state.fn != "fit":
            return
        value = self.sign * trainer.callback_metrics[f"val/{self.monitor}"].item()
        # A metric that is not a number (a correlation of constants) is not progress.
        if value < self.best or not self.weights:
            self.best = value if math.isfinite(value) else math.inf
            self.step, self.waited = trainer.global_step, 0
            self.weights = weights_of(module.model)
        else:
            self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            trainer.should_stop = True

    def restore(self, model: nn.Module) -> None:
        """Give `model` the best weights, if there was a validation and this is wanted."""
        if self.weights and self.restores:
            give_weights(model, self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for the checkpoint."""
        return {"best": self.best, "step": self.step, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best, self.step = state_dict["best"], state_dict["step"]
        self.waited = state_dict["waited"]
        self.weights = {name: torch.clone(tensor) for name, tensor in state_dict["weights"].items()}
