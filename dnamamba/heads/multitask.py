"""Several answers about one sequence, each of its kind: multi-output regression, classes next to numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from dnamamba.errors import UserError
from dnamamba.heads.base import Head
from dnamamba.heads.classification import Classification
from dnamamba.heads.metrics import mean_of_defined
from dnamamba.heads.regression import Regression

if TYPE_CHECKING:
    from dnamamba.models.sequence import DecoderConfig

KINDS: dict[str, type[Head]] = {"classification": Classification, "regression": Regression}
BETWEEN = "="  # of a target and its class, in the name of a logit


class _Question(NamedTuple):
    """What a head needs to know of one target, in the place of a `DecoderConfig`."""

    labels: tuple[str, ...]
    shift: float
    scale: float


class Part(NamedTuple):
    """One target.

    Attributes:
        name: of its column.
        head: of its kind.
        logits: which logits are its own.
    """

    name: str
    head: Head
    logits: slice


class Multitask(Head):
    """Targets with a loss, metrics and columns of their own; labels are float64 [n, T], NaN of a missing one.

    The loss is the mean over targets of the loss of each, a missing one's being 0. The metric `score` is the
    mean over targets of what each is known by: accuracy of classes, Pearson's correlation of numbers. Where a
    target's numbers vary and the predictions don't, that correlation counts as 0 in the mean: left out, it
    would flatter whoever predicts a constant.
    """

    reads = "targets"
    dtype = torch.float64
    headline = "score"
    constant = "constant"
    linear = "linear"
    scores: ClassVar[tuple[str, ...]] = ("score",)

    def __init__(self, decoder: DecoderConfig) -> None:
        super().__init__(decoder)
        self.parts = list(_parts(decoder))
        own = [f"{part.name}.{name}" for part in self.parts for name in part.head.scores]
        self.scores = ("score", *own)  # type: ignore[misc]
        lower = [
            f"{part.name}.{name}"
            for part in self.parts
            for name in part.head.lower_is_better
            if name in part.head.scores
        ]
        self.lower_is_better = ("loss", *lower)  # type: ignore[misc]

    @classmethod
    def check(cls, decoder: DecoderConfig) -> None:
        """Refuse targets that do not fit the labels. See `Head.check`."""
        super().check(decoder)
        try:
            parts = list(_parts(decoder))
        except (KeyError, TypeError) as error:
            raise UserError(f"decoder.tasks: is damaged ({type(error).__name__}: {error})") from None
        if not parts or parts[-1].logits.stop != len(decoder.labels):
            raise UserError(f"decoder.tasks: do not have {len(decoder.labels)} logits together")

    def class_weights(self, given: Any, counts: list[int], total: int) -> Tensor | None:
        """Return a weight of each target, by name. See `Head.class_weights`."""
        if given is None:
            return None
        names = [part.name for part in self.parts]
        good = isinstance(given, dict) and {str(key) for key in given} == set(names)
        if not good or not all(isinstance(one, int | float) and 0 < one < math.inf for one in given.values()):
            raise UserError(
                "task.class_weights: of several targets, null or a positive weight for each of "
                f"{', '.join(names)} (got {given!r})"
            )
        weights = {str(key): float(value) for key, value in given.items()}
        return torch.tensor([weights[name] for name in names])

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the weighted mean over targets, [B]. See `Head.loss`."""
        losses = []
        for place, part in enumerate(self.parts):
            there, own = _present(labels, place)
            kind = smoothing if part.head.reads == "class" else 0.0
            found = part.head.loss(logits[:, part.logits], _as_read(part, own), None, kind)
            losses.append(torch.where(there, found, 0.0))
        together = torch.stack(losses, 1)
        if weights is None:
            return together.mean(1)
        return (together * weights.to(together)).sum(1) / weights.sum().to(together)

    def predict(self, logits: Tensor) -> Tensor:
        """Return probabilities of classes and numbers in their unit, side by side."""
        return torch.cat([part.head.predict(logits[:, part.logits]) for part in self.parts], 1)

    def effect(self, logits: Tensor, number: int) -> Tensor:
        """Return that of the target which a logit belongs to. See `Head.effect`."""
        part = self._part(number)
        return part.head.effect(logits[:, part.logits], number - part.logits.start)

    def effect_unit(self, number: int) -> str:
        """Return that of the target which a logit belongs to."""
        part = self._part(number)
        return part.head.effect_unit(number - part.logits.start)

    def _part(self, number: int) -> Part:
        return next(part for part in self.parts if number < part.logits.stop)

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Return the metrics of each target over the sequences that have it. See `Head.metrics`."""
        found: dict[str, float] = {"score": math.nan}
        known_by = []
        for place, part in enumerate(self.parts):
            there, own = _present(labels, place)
            if there.any():
                values = part.head.metrics(logits[there][:, part.logits], _as_read(part, own[there]))
            else:
                values = dict.fromkeys(part.head.scores, math.nan)
            found |= {f"{part.name}.{name}": value for name, value in values.items()}
            known = values[part.head.headline]
            if math.isnan(known) and there.any() and _only_constant(part, logits, own[there]):
                known = 0.0
            known_by.append(known)
        found["score"] = mean_of_defined(torch.tensor(known_by, dtype=torch.float64))
        return found

    def notes(self, logits: Tensor, labels: Tensor) -> list[str]:
        """Name what a metric of a target leaves out. See `Head.notes`."""
        lines = []
        for place, part in enumerate(self.parts):
            there, own = _present(labels, place)
            if there.any():
                said = part.head.notes(logits[there][:, part.logits], _as_read(part, own[there]))
                lines += [f"{part.name}: {line}" for line in said]
            else:
                lines.append(f"{part.name}: no sequence has it")
        return lines

    def columns(self) -> list[str]:
        """Return the columns of each target under its name."""
        return [name for part in self.parts for name in _columns(part)]

    def cells(self, logits: Tensor) -> list[str]:
        """Return the cells of each target. See `Head.cells`."""
        return [cell for part in self.parts for cell in part.head.cells(logits[part.logits])]

    def answer(self, logits: Tensor) -> str:
        """Return `column=answer` of each target."""
        return packed({part.name: part.head.answer(logits[part.logits]) for part in self.parts})

    def written(self, label: Tensor) -> str:
        """Return `column=label` of each target; nothing of a missing one."""
        cells = {}
        for place, part in enumerate(self.parts):
            there, own = _present(label[None], place)
            cells[part.name] = part.head.written(_as_read(part, own)[0]) if bool(there) else ""
        return packed(cells)


def packed(cells: dict[str, str]) -> str:
    """Return the cells of a sequence's targets as one text, `a=1.5;b=leaf`."""
    return ";".join(f"{name}{BETWEEN}{cell}" for name, cell in cells.items())


def _parts(decoder: DecoderConfig) -> Sequence[Part]:
    parts, start = [], 0
    for task in decoder.tasks or ():
        kind, size = KINDS[task["kind"]], int(task["labels"])
        place = slice(start, start + size)
        names = tuple(label.removeprefix(f"{task['name']}{BETWEEN}") for label in decoder.labels[place])
        question: Any = _Question(names, float(task["shift"]), float(task["scale"]))
        parts.append(Part(str(task["name"]), kind(question), place))
        start += size
    return parts


def _present(labels: Tensor, place: int) -> tuple[Tensor, Tensor]:
    """Return which sequences have a target, bool [n], and its labels, [n], 0 where there is none."""
    own = labels[:, place]
    return ~own.isnan(), own.nan_to_num(0.0)


def _as_read(part: Part, own: Tensor) -> Tensor:
    """Return labels as the target's head takes them."""
    return own.long() if part.head.reads == "class" else own[:, None]


def _only_constant(part: Part, logits: Tensor, own: Tensor) -> bool:
    """Return whether a metric is undefined because the predictions do not vary, and for no other reason."""
    return bool(own.min() != own.max()) and not part.head.not_finite(logits[:, part.logits])


def _columns(part: Part) -> list[str]:
    if part.head.reads == "number":
        return [part.name]
    return [f"{part.name}.{column}" for column in part.head.columns()]
