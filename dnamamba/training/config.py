"""The settings of a run's steps and devices: the groups `train` and `trainer`."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from dnamamba.auto import AUTO, check_number_or_auto
from dnamamba.data.bases import windows_of
from dnamamba.errors import UserError
from dnamamba.training.optim import Schedule

BACKPROPAGATION = ("exact", "truncated")


@dataclass(frozen=True)
class TrainConfig:
    """The `train` group of a pretraining; conf/train/pretrain.yaml explains each key.

    Attributes:
        free: what may differ between a run and the one it resumes.

    Raises:
        UserError: a number is out of range; the message names its key.
    """

    # The windows of a step are compared, in whichever unit they were given.
    free: ClassVar[tuple[str, ...]] = (
        "max_steps",
        "bases_per_step",
        "activation_checkpointing",
        "compile",
        "chunk_graphs",
        "log_every",
        "validate_every",
        "checkpoint_every",
    )

    sequences: ClassVar[int] = 16  # per step, where neither unit is set

    seed: int = 0
    max_steps: int | None = 600
    global_batch_size: int | None = None
    bases_per_step: int | None = None
    learning_rate: float = 8e-3
    final_learning_rate: float = 1e-5
    warmup_fraction: float = 0.1
    weight_decay: float = 0.1
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    epsilon: float = 1e-8
    gradient_clip: float | None = 1.0
    activation_checkpointing: bool = False
    compile: bool = False
    chunk_bases: Any = None  # int, auto or None: OmegaConf has no such union
    chunk_graphs: Any = "auto"  # or bool
    backpropagation: str = "exact"
    log_every: int = 5
    validate_every: int = 100
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for key in ("max_steps", "global_batch_size", "log_every", "validate_every", "checkpoint_every"):
            if getattr(self, key) not in (None, AUTO) and getattr(self, key) < 1:
                raise UserError(f"train.{key}: must be at least 1 (got {getattr(self, key)})")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"train.seed: must lie between 0 and 4294967295 (got {self.seed})")
        if self.weight_decay < 0:
            raise UserError(f"train.weight_decay: must be at least 0 (got {self.weight_decay})")
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise UserError(f"train.gradient_clip: must be positive or null (got {self.gradient_clip})")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train.betas: must be two numbers from 0 to below 1 (got {self.betas})")
        if not 0 < self.epsilon < 1:
            raise UserError(f"train.epsilon: must lie between 0 and 1 (got {self.epsilon})")
        self._check_chunks()

    def _check_chunks(self) -> None:
        """Refuse settings of reading by chunks that do not go together."""
        chunk = self.chunk_bases
        if chunk not in (None, "auto") and (type(chunk) is not int or chunk < 1):
            raise UserError(
                f"train.chunk_bases: expected a number of bases, auto or null (got {chunk!r}); set 1 or more"
            )
        if self.chunk_graphs not in (True, False, "auto") or type(self.chunk_graphs) is int:
            raise UserError(
                f"train.chunk_graphs: expected true, false or auto (got {self.chunk_graphs!r}); set one"
            )
        if self.backpropagation not in BACKPROPAGATION:
            raise UserError(
                f"train.backpropagation: must be one of {', '.join(BACKPROPAGATION)} (got "
                f"{self.backpropagation!r})"
            )
        if self.backpropagation == "truncated" and type(chunk) is not int:
            raise UserError(
                "train.backpropagation=truncated: the gradient ends at the borders of chunks, so that their "
                f"length is part of the result (got train.chunk_bases={'null' if chunk is None else chunk}); "
                "set train.chunk_bases to a number"
            )
        for key in ("activation_checkpointing", "compile"):
            if chunk is not None and getattr(self, key):
                raise UserError(
                    f"train.chunk_bases: does not go together with train.{key} (got train.{key}=true); "
                    "leave one of the two out"
                )

    @property
    def sequences_per_step(self) -> int:
        """`global_batch_size`, once `in_sequences` has set it."""
        assert self.global_batch_size is not None
        return self.global_batch_size

    def filled(self, *keys: str) -> Self:
        """Return the same settings with numbers where some or all keys leave them to the data."""
        return self

    def in_sequences(self, length: int | None) -> Self:
        """Return the same settings with `global_batch_size` as a number.

        Args:
            length: bases of the longest window; None where the data alone know it.

        Raises:
            UserError: both units are set and differ, or bases are given and no length is.
        """
        if length is None and self.bases_per_step is not None:
            raise UserError(
                f"train.bases_per_step={self.bases_per_step} needs data.max_length; set it, or set "
                "train.global_batch_size instead"
            )
        keys = ("train.global_batch_size", "train.bases_per_step")
        given = self.global_batch_size, self.bases_per_step
        return replace(self, global_batch_size=windows_of(*given, length or 1, self.sequences, keys))

    def schedule(self, max_steps: int) -> Schedule:
        """Return the learning rate of each step of a run of `max_steps`."""
        return Schedule(max_steps, self.learning_rate, self.final_learning_rate, self.warmup_fraction)


@dataclass(frozen=True)
class FinetuneTrainConfig(TrainConfig):
    """The `train` group of a fine-tuning; conf/train/finetune.yaml explains each key.

    Raises:
        UserError: a number is out of range; the message names its key.
    """

    # Validations choose the weights that are kept: another rhythm is another run.
    free: ClassVar[tuple[str, ...]] = (
        *(key for key in TrainConfig.free if key != "validate_every"),
        "epochs",
    )

    sequences: ClassVar[int] = 32

    # Of data that are drawn without end.
    endless: ClassVar[dict[str, Any]] = {"max_steps": 400, "learning_rate": 2e-3, "validate_every": 50}

    # A number or auto, see `training/automatic.py`.
    max_steps: Any = AUTO
    learning_rate: Any = AUTO
    validate_every: Any = AUTO
    checkpoint_every: int = 50
    epochs: float | None = None

    def __post_init__(self) -> None:
        for key, whole in (("max_steps", True), ("learning_rate", False), ("validate_every", True)):
            check_number_or_auto(f"train.{key}", getattr(self, key), whole=whole, null=key == "max_steps")
        super().__post_init__()
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise UserError(f"train.epochs: must be a number above 0 or null (got {self.epochs})")

    def filled(self, *keys: str) -> Self:
        """See `TrainConfig.filled`."""
        open_keys = [key for key in keys or self.endless if getattr(self, key) == AUTO]
        return replace(self, **{key: self.endless[key] for key in open_keys})

    def steps_of(self, sequences: int, epochs: float) -> int:
        """Return the steps in which `epochs` times all of so many training sequences are read."""
        return max(1, math.ceil(epochs * sequences / self.sequences_per_step))


@dataclass(frozen=True)
class TrainerConfig:
    """The `trainer` group: which devices, how many, in which precision; conf/trainer explains each key.

    Raises:
        UserError: a number is out of range, or the processes can't form groups of `context_size`.
    """

    accelerator: str = "cpu"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    deterministic: bool = False
    context_size: int = 1

    def __post_init__(self) -> None:
        for key in ("devices", "num_nodes", "context_size"):
            if getattr(self, key) < 1:
                raise UserError(f"trainer.{key}: must be at least 1 (got {getattr(self, key)})")
        if self.processes % self.context_size:
            raise UserError(
                f"trainer.context_size: {self.processes} processes can't share sequences by so many (got "
                f"{self.context_size}); set a divisor of trainer.devices x trainer.num_nodes"
            )

    @property
    def processes(self) -> int:
        """Processes of a run, together on all machines."""
        return self.devices * self.num_nodes

    @property
    def data_processes(self) -> int:
        """Groups of processes that read sequences of their own."""
        return self.processes // self.context_size
