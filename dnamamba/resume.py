"""Which checkpoint a run goes on from, and whether it may."""

from pathlib import Path
from typing import Any

from dnamamba.checkpoint import checkpoint_config, read_checkpoint
from dnamamba.errors import UserError
from dnamamba.figures import read_metrics
from dnamamba.models import MambaConfig
from dnamamba.tasks.checkpointing import LAST

# What decides which bases a step reads: a resumed run must agree on it, or it would not be the same run.
UNCHANGED = (
    "data.max_length",
    "data.batch_size",
    "data.reverse_complement",
    "data.valid",
    "data.test",
    "train.seed",
    "train.global_batch_size",
)


def checkpoint_to_resume(ckpt_path: str | None, folder: Path, contents: dict[str, Any]) -> Path | None:
    """The checkpoint that `ckpt_path` names, if this run may go on from it.

    Args:
        ckpt_path: None for a new run, a path, or `last`.
        folder: of this run.
        contents: what this run's checkpoints will hold of its configuration: `model`, `data`, `train`.

    Raises:
        UserError: there is no such checkpoint, or it is of another run; the message lists what differs.
    """
    if ckpt_path is None:
        return None
    path = newest_checkpoint(folder) if ckpt_path == "last" else Path(ckpt_path)
    checkpoint = read_checkpoint(path)
    config = MambaConfig.from_dict(contents["model"])
    differences = [f"model.{line}" for line in checkpoint_config(checkpoint, path).differences(config)]
    for key in UNCHANGED:
        group, _, name = key.partition(".")
        before, now = checkpoint["dnamamba"][group][name], contents[group][name]
        if before != now:
            differences.append(f"{key}: {before}, {now}")
    if differences:
        raise UserError(
            f"{path} is of another run (checkpoint's value, this run's): {'; '.join(differences)}"
        )
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
