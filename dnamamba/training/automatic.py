"""Steps, learning rates, validations and early end of a fine-tuning, where they are left to the data's size.

Measured with the 1.4M human model (docs/heads.md): 400 steps of 32 sequences are enough for 1,088 and for
4,000 sequences, at 1e-3; the small yeast model reads its 18,022 at 2e-3. Between these the rules interpolate.
"""

import math
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeVar

from dnamamba.auto import AUTO
from dnamamba.datasets.base import DataModule
from dnamamba.datasets.positions import PositionsData
from dnamamba.errors import LARGEST, UserError
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.config import FinetuneTrainConfig

Settings = TypeVar("Settings", FinetuneTrainConfig, TaskConfig)

READINGS = 12_800  # sequences that a run reads at least, some of them many times
FEWEST_EPOCHS, MOST_EPOCHS = 3.0, 30.0
BASES = 1 << 30  # that are read at most, but for an epoch of sequences that are given
RATE, HIGHEST_RATE = 1e-3, 2e-3
FEW, MANY = 4_500, 18_000  # answers to learn from, at which the learning rate begins and ends to rise
LOWEST_SHARE = 0.25  # of the learning rate, for the embedding
VALIDATIONS, PATIENCE, LEAST_BETWEEN = 10, 3, 10


class Size(NamedTuple):
    """How much there is to train on.

    Attributes:
        sequences: of the training split, or windows that cover it once.
        length: their mean, in bases.
        answers: labels in all: one per sequence, or one per base or bin.
        whole: whether an epoch is read in any case.
    """

    sequences: int
    length: float
    answers: float
    whole: bool

    @property
    def epochs(self) -> float:
        """How often all of it is read where nobody says."""
        most = BASES / (self.sequences * self.length)
        wanted = min(MOST_EPOCHS, max(FEWEST_EPOCHS, READINGS / self.sequences))
        return min(wanted, max(1.0, most) if self.whole else most)

    @property
    def share(self) -> float:
        """From 0 to 1: the place of the answers between few and many, on a logarithmic scale."""
        return min(1.0, max(0.0, math.log(self.answers / FEW) / math.log(MANY / FEW)))

    @property
    def learning_rate(self) -> float:
        """Of a pretrained model that is trained as a whole."""
        return float(f"{RATE * (HIGHEST_RATE / RATE) ** self.share:.2g}")

    def layer_decay(self, depth: int) -> float:
        """Return the decay by which the embedding, below `depth` blocks, has its share of the rate."""
        return round(LOWEST_SHARE ** ((1 - self.share) / (depth + 1)), 3)


def size_of_data(data: DataModule) -> Size | None:
    """Return how much there is to train on; None where it is drawn without end."""
    sequences, bases = data.training_sequences, data.training_bases
    if sequences is None or bases is None:
        return None
    if isinstance(data, PositionsData):
        return Size(sequences, bases / sequences, bases / data.targets.bin, whole=False)
    return Size(sequences, bases / sequences, sequences, whole=True)


def resolved(
    train: FinetuneTrainConfig,
    task: TaskConfig,
    data: DataModule,
    depth: int | None,
    earlier: dict[str, Any],
) -> tuple[FinetuneTrainConfig, TaskConfig, list[str]]:
    """Return the settings with numbers in place of `auto`, and lines that say them; the run is made as long.

    Args:
        train: the steps, in sequences.
        task: that group.
        data: what is read.
        depth: blocks of a pretrained model that is trained as a whole; None: of another.
        earlier: groups of the checkpoint of a resumed run, whose numbers are taken; of a new run empty.

    Raises:
        UserError: `train.epochs` of training sequences without an end, or more than can be counted, or
            another number than `train.max_steps`.
    """
    asked = train, task
    train, task = _again(train, earlier.get("train", {})), _again(task, earlier.get("task", {}))
    size = size_of_data(data)
    epochs = train.epochs
    if epochs is not None and size is None:
        raise UserError(
            f"train.epochs: {data.label} is drawn without end (got {epochs:g}); set train.max_steps"
        )
    lines = []
    if size is not None and (epochs is not None or train.max_steps == AUTO):
        if epochs is None:
            # With nothing to train, to read a sequence again adds nothing.
            epochs = 1.0 if task.fit == "closed" else size.epochs
        steps = train.steps_of(size.sequences, epochs)
        if steps > LARGEST:
            raise UserError(f"train.epochs: at most {LARGEST:,} steps (got {epochs:g}); set fewer")
        if asked[0].max_steps not in (AUTO, None, steps):
            raise UserError(
                f"train.epochs={epochs:g} ({steps:,} steps) and train.max_steps={train.max_steps} differ; "
                "set one of the two"
            )
        lines.append(
            f"train.epochs={epochs:.3g} of {size.sequences:,} training sequences: {steps:,} steps of "
            f"{train.sequences_per_step:,}"
        )
        # Steps that are given end no earlier.
        by_data = train.max_steps == AUTO
        train = replace(train, max_steps=steps)
    else:
        by_data = False
        train = train.filled("max_steps")
    if size is not None:
        data.run_for(train.max_steps)
    decay = 1.0
    if train.learning_rate == AUTO and size is not None and depth is not None:
        decay = size.layer_decay(depth)
        train = replace(train, learning_rate=size.learning_rate)
    train = train.filled("learning_rate")
    if train.validate_every == AUTO and size is not None:
        every = max(LEAST_BETWEEN, train.max_steps // VALIDATIONS)
        train = replace(train, validate_every=min(train.max_steps, every))
    train = train.filled("validate_every")
    if task.layer_decay == AUTO:
        task = replace(task, layer_decay=decay)
    if task.patience == AUTO:
        task = replace(task, patience=PATIENCE if by_data else None)
    said = _set("train", asked[0], train) + _set("task", asked[1], task)
    if task.fit == "closed":  # nothing else has a meaning there
        said = [text for text in said if text.startswith("train.max_steps=")]
    if any(text.startswith("train.") for text in said):  # without, the task's follow what was given
        lines.append(f"set by the size of the data: {', '.join(said)}")
    return train, task, lines


def _again(group: Settings, earlier: Any) -> Settings:
    """Return the settings with an earlier run's numbers in place of `auto`."""
    if not isinstance(earlier, dict):
        return group
    names = [field.name for field in fields(group) if getattr(group, field.name) == AUTO]
    found = {name: earlier[name] for name in names if name in earlier}
    if "max_steps" in found and getattr(group, "epochs", None) is None and earlier.get("epochs") is not None:
        found["epochs"] = earlier["epochs"]
    return replace(group, **found)


def _set(name: str, before: Settings, now: Settings) -> list[str]:
    """Return keys and values of a group that were `auto`."""
    keys = [field.name for field in fields(now) if getattr(before, field.name) == AUTO]
    return [f"{name}.{key}={_shown(getattr(now, key))}" for key in keys if getattr(now, key) != AUTO]


def _shown(value: Any) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else f"{value}"
