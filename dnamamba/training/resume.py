"""Which checkpoint a run goes on from, and whether it may."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnamamba.checkpoint import checkpoint_config, read_checkpoint
from dnamamba.errors import UserError
from dnamamba.models.families import family_config
from dnamamba.reports.figures import read_metrics
from dnamamba.training.checkpointing import LAST

OUTCOMES = ("results.json", "metrics.json")  # the last that a pretraining, a fine-tuning writes


def checkpoint_to_resume(
    ckpt_path: str | None,
    folder: Path,
    contents: dict[str, Any],
    max_steps: int,
    unchanged: Mapping[str, Sequence[str]],
) -> Path | None:
    """The checkpoint that `ckpt_path` names, if this run may go on from it.

    Args:
        ckpt_path: None for a new run, a checkpoint, a run's folder, `last`, or `auto`: go on in `folder` if a
            run was begun there, else begin one.
        folder: of this run.
        contents: what this run's checkpoints will hold: `family`, `model`, `objective`, `data`, `train` and
            `genome` among them.
        max_steps: of this run.
        unchanged: the keys of each group of `contents` that may not differ.

    Raises:
        UserError: there is no such checkpoint, it has no step left, or it is of another run; the message
            lists what differs. Or this is a new run, and `folder` holds one already.
    """
    if ckpt_path == "auto":
        ckpt_path = str(folder) if (folder / "checkpoints" / LAST).is_file() else None
    if ckpt_path is None:
        if (folder / "checkpoints" / LAST).exists():
            raise UserError(
                f"{folder} holds a run already: choose another hydra.run.dir, or go on with ckpt_path=last"
            )
        return None
    path = newest_checkpoint(folder) if ckpt_path == "last" else Path(ckpt_path).expanduser()
    if path.is_dir():
        path = path / "checkpoints" / LAST
    checkpoint = read_checkpoint(path)
    config = family_config(contents["family"]).from_dict(contents["model"])
    differences = [f"model.{line}" for line in checkpoint_config(checkpoint, path).differences(config)]
    earlier = checkpoint["dnamamba"]
    for group, names in unchanged.items():
        for name in names if group in earlier else ():  # checkpoints of 0.1 have no objective
            before, now = earlier[group].get(name), contents[group].get(name)
            if before != now:
                differences.append(f"{group}.{name}: {before}, {now}")
    if differences:
        raise UserError(
            f"{path} is of another run (checkpoint's value, this run's): {'; '.join(differences)}"
        )
    steps = checkpoint["global_step"]
    # A run may also have been stopped while its held-out bases were scored: then that is left.
    unscored = path == folder / "checkpoints" / LAST and not any(
        (folder / name).exists() for name in OUTCOMES
    )
    if steps > max_steps or (steps == max_steps and not unscored):
        raise UserError(f"{path} has done {steps:,} steps of {max_steps:,}: nothing is left to do")
    return path


def newest_checkpoint(folder: Path) -> Path:
    """The last.ckpt of `folder` or, if it has none, the newest of the run folders beside it.

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


def metrics_until(checkpoint: Path) -> list[dict[str, float]]:
    """What the interrupted run had logged by its checkpoint, so that the curve goes on unbroken."""
    path = checkpoint.parent.parent / "metrics.csv"
    if not path.is_file():
        return []
    steps = read_checkpoint(checkpoint)["global_step"]
    rows = [row for row in read_metrics(path) if row["step"] < steps]
    return [{key: value for key, value in row.items() if key != "epoch"} for row in rows]
