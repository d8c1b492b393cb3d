"""Which checkpoint a run resumes from, and whether it may."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dnamamba.checkpoint import MODULE_PREFIX, checkpoint_config, read_checkpoint
from dnamamba.data.regions import RegionsConfig
from dnamamba.datasets.warmup import SequenceWarmup
from dnamamba.errors import UserError
from dnamamba.models.families import family_config
from dnamamba.models.finite import need_finite_weights
from dnamamba.reports.figures import read_metrics
from dnamamba.training.checkpointing import ENDED, LAST
from dnamamba.training.row_sums import UNVALIDATED, Kept, check_rows, remains

# Settings that older checkpoints do not have, and what those runs did.
BEFORE = {
    "train.backpropagation": "exact",
    "train.epsilon": 1e-8,
    "data.regions": asdict(RegionsConfig()),
    "data.stratify": False,
    "data.circular": [],
    "data.length_warmup": asdict(SequenceWarmup()),  # of the synthetic tasks
}
OUTCOMES = ("results.json", "metrics.json")  # the last that a pretraining, a fine-tuning writes


@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a run resumes from.

    Attributes:
        path: of the file.
        steps: that were done.
        unvalidated: whether the validation after them is still to be done.
        ended: whether the run is at its end, and only its scores and files are missing.
    """

    path: Path
    steps: int
    unvalidated: bool
    ended: bool

    def metrics(self) -> list[dict[str, float]]:
        """Return the rows that the interrupted run logged up to its checkpoint, to continue the curve.

        Raises:
            UserError: a row is damaged.
        """
        path = self.path.parent.parent / "metrics.csv"
        if not path.is_file():
            return []
        rows = [(row, Kept.of(row)) for row in read_metrics(path)]
        rows = [(row, kept) for row, kept in rows if remains(kept, self.steps, self.unvalidated)]
        number = check_rows(self.path, self.steps, self.unvalidated, [kept for _, kept in rows], path)
        return [row for row, _ in rows[:number]]


class Finished(UserError):  # noqa: N818
    """The run is at its end already, and nothing is missing."""


def checkpoint_to_resume(
    ckpt_path: str | None,
    folder: Path,
    contents: dict[str, Any],
    max_steps: int,
    unchanged: Mapping[str, Sequence[str]],
    check: Callable[[dict[str, Any], Path], None],
) -> Resumed | None:
    """Return the checkpoint that `ckpt_path` names, if this run may resume from it.

    Args:
        ckpt_path: None for a new run, a checkpoint, a run's folder, `last`, or `auto`: resume the run that
            `folder` holds, else begin one.
        folder: of this run.
        contents: what this run's checkpoints will hold: `family`, `model`, `objective`, `data`, `train` and
            `genome` among them.
        max_steps: of this run.
        unchanged: the keys of each group of `contents` that may not differ.
        check: refuses what the model and optimiser of this run can't take.

    Raises:
        Finished: it has no step left, and its outcome is there.
        UserError: there is no such checkpoint, it has more steps, or it is of another run; the message
            lists what differs. Or its weights, adapters or optimiser hold NaN or infinity, or this is a new
            run, and `folder` holds one already.
    """
    path = _path_of(ckpt_path, folder)
    if path is None:
        if (folder / "checkpoints" / LAST).exists():
            raise UserError(
                f"{folder} holds a run already: choose another hydra.run.dir, or resume with ckpt_path=last"
            )
        if any((folder / name).exists() for name in OUTCOMES):  # of one with task.fit=closed
            raise UserError(
                f"{folder} holds a finished run: choose another hydra.run.dir, or remove that folder"
            )
        return None
    checkpoint = read_checkpoint(path)
    config = family_config(contents["family"]).from_dict(contents["model"])
    differences = [f"model.{line}" for line in checkpoint_config(checkpoint, path).differences(config)]
    earlier = checkpoint["dnamamba"]
    for group, names in unchanged.items():
        for name in names if group in earlier else ():  # checkpoints of 0.1 have no objective
            values = earlier[group] if isinstance(earlier[group], dict) else {}
            default, now = BEFORE.get(f"{group}.{name}"), contents[group].get(name)
            before = values.get(name, default)
            if isinstance(default, dict) and isinstance(before, dict):
                before = default | before
            if _differ(before, now):
                differences.append(f"{group}.{name}: {before}, {now}")
    if differences:
        raise UserError(
            f"{path} is of another run (checkpoint's value, this run's): {'; '.join(differences)}"
        )
    steps = checkpoint.get("global_step")
    if type(steps) is not int or steps < 0:
        raise UserError(f"{path}: not a checkpoint of a run, whose global_step is int (got {steps!r})")
    ended = bool(earlier.get(ENDED)) or steps == max_steps
    check(checkpoint, path)
    # Whose moments are squares of anything.
    need_finite_weights(_numbers(checkpoint), path, "resume from an earlier checkpoint", math.inf)
    # A run may also have been stopped while its held-out bases were scored: then that is left.
    unscored = path == folder / "checkpoints" / LAST and not _scored(folder, steps)
    if steps > max_steps or (ended and not unscored):
        early = "; the run ended there, as task.patience or a callback asked" if steps < max_steps else ""
        raise Finished(f"{path} has done {steps:,} steps of {max_steps:,}: nothing is left to do{early}")
    return Resumed(path, steps, bool(earlier.get(UNVALIDATED)), ended)


def earlier_contents(ckpt_path: str | None, folder: Path) -> dict[str, Any]:
    """Return the `contents` that `ckpt_path` names, of the run that is resumed; of a new run nothing.

    Args:
        ckpt_path, folder: as of `checkpoint_to_resume`.

    Raises:
        UserError: there is no such checkpoint, or it is damaged.
    """
    path = _path_of(ckpt_path, folder)
    return {} if path is None else read_checkpoint(path)["dnamamba"]


def _path_of(ckpt_path: str | None, folder: Path) -> Path | None:
    """Return the file that `ckpt_path` names; None where a new run begins."""
    if ckpt_path == "auto":
        ckpt_path = str(folder) if (folder / "checkpoints" / LAST).is_file() else None
    if ckpt_path is None:
        return None
    path = newest_checkpoint(folder) if ckpt_path == "last" else Path(ckpt_path).expanduser()
    return path / "checkpoints" / LAST if path.is_dir() else path


def _numbers(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what a run computes with, by name: weights, adapters, the optimiser's moments, best weights."""
    weights = checkpoint["state_dict"].items()
    found = {str(name).removeprefix(MODULE_PREFIX): value for name, value in weights}
    found |= _named(checkpoint.get("optimizer_states"), "optimizer_states")
    callbacks = checkpoint.get("callbacks")
    for name, state in callbacks.items() if isinstance(callbacks, dict) else ():
        found |= _named(state.get("weights") if isinstance(state, dict) else None, f"{name}.weights")
    return found


def _named(value: Any, name: str) -> dict[str, Any]:
    """Return what is in nested dicts and lists, each by its place."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, each in value.items():
        found |= _named(each, f"{name}.{key}")
    return found


def _differ(before: Any, now: Any) -> bool:
    try:
        return bool(before != now)
    except RuntimeError:  # a foreign file's tensor has no one answer
        return True


def _scored(folder: Path, steps: int) -> bool:
    """Return whether a run has written its last file, of this number of steps."""
    for name in OUTCOMES:
        try:
            return bool(json.loads((folder / name).read_text(encoding="utf-8"))["steps"] == steps)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return False


def forget_outcome(folder: Path) -> None:
    """Remove the last files of a run that trains on: they are of fewer steps and of other settings."""
    for name in OUTCOMES:
        (folder / name).unlink(missing_ok=True)


def newest_checkpoint(folder: Path) -> Path:
    """Return the last.ckpt of `folder` or, if it has none, the newest of the run folders next to it.

    Raises:
        UserError: there is none.
    """
    own = folder / "checkpoints" / LAST
    if own.is_file():
        return own
    found = sorted(folder.parent.glob(f"*/checkpoints/{LAST}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"ckpt_path=last: no checkpoint of an earlier run in {folder.parent}")
    return found[-1]
