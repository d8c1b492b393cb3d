"""The `task` group of a fine-tuning: how the head is found, the loss, and what of the model learns."""

from dataclasses import dataclass
from typing import Any, ClassVar

from dnamamba.auto import AUTO, check_number_or_auto
from dnamamba.errors import UserError

FITS = ("gradient", "closed")


@dataclass(frozen=True)
class TaskConfig:
    """The `task` group of a fine-tuning; conf/finetune.yaml explains each key.

    Raises:
        UserError: a value is out of range, or two do not go together; the message names the key.
    """

    # How often a test is resampled, and what it is compared with, decides no step; of a closed-form head
    # there is no checkpoint.
    free: ClassVar[tuple[str, ...]] = ("bootstrap", "baselines", "fit", "shrinkage", "refit")

    fit: str = "gradient"
    shrinkage: float = 0.02
    refit: bool = False
    class_weights: Any = None
    label_smoothing: float = 0.0
    freeze: bool = False
    layer_decay: Any = AUTO
    lora_rank: int = 0
    lora_alpha: int = 16
    monitor: str = "loss"
    keep_best: bool = True
    patience: Any = AUTO
    bootstrap: int = 1000
    baselines: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"task.label_smoothing: must lie between 0 and below 1 (got {self.label_smoothing})"
            )
        check_number_or_auto("task.layer_decay", self.layer_decay, whole=False)
        check_number_or_auto("task.patience", self.patience, whole=True, null=True)
        if self.layer_decay != AUTO and not 0 < self.layer_decay <= 1:
            raise UserError(f"task.layer_decay: must lie above 0 and up to 1 (got {self.layer_decay})")
        for key, least in (("lora_rank", 0), ("patience", 1), ("bootstrap", 1)):
            if getattr(self, key) not in (None, AUTO) and getattr(self, key) < least:
                raise UserError(f"task.{key}: must be at least {least} (got {getattr(self, key)})")
        if self.lora_alpha <= 0:
            raise UserError(f"task.lora_alpha: must be positive (got {self.lora_alpha})")
        if self.freeze and self.lora_rank:
            raise UserError("task.freeze and task.lora_rank: a frozen backbone has no adapters to train")
        if self.fit not in FITS:
            raise UserError(f"task.fit: must be one of {', '.join(FITS)} (got {self.fit!r})")
        if not 0 < self.shrinkage <= 1:
            raise UserError(f"task.shrinkage: must lie above 0 and up to 1 (got {self.shrinkage})")
        if self.fit == "closed":
            self._check_closed()
        elif self.refit:
            raise UserError(
                "task.refit=true needs task.fit=closed: of training, validation chooses what is kept"
            )

    def _check_closed(self) -> None:
        """Refuse settings that have no meaning for a head that is computed."""
        for key in ("lora_rank", "label_smoothing"):
            if getattr(self, key):
                raise UserError(f"task.{key} has no meaning with task.fit=closed: nothing is trained")
        if self.class_weights not in (None, "balanced"):
            raise UserError(
                "task.class_weights: must be null or balanced with task.fit=closed (got "
                f"{self.class_weights})"
            )
