"""Checkpoints that are whole or absent, and a stop that leaves one."""

import os
import signal
import subprocess
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dnamamba.errors import Interrupted
from dnamamba.files import replacing

LAST = "last.ckpt"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside, sync, rename: a process killed at any moment leaves the old checkpoint or the new one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint`, tensors and plain values, to `path`."""
        assert storage_options is None
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, beside.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class LastCheckpoint(lightning.Callback):
    """Keeps `folder`/last.ckpt fresh, and ends a run early but whole on SIGINT or SIGTERM.

    The signals are this callback's from the first step until `restore_signals`. SIGUSR1, by which SLURM says
    that the time is nearly up, stops as well and puts the job back into the queue. Where there are several
    processes, one that is asked to stop stops them all, after the same step.

    Args:
        folder: where last.ckpt goes.
        every: optimiser steps between two checkpoints.
        contents: plain values that go with the weights, such as the model's configuration.
        validate_every: steps between two validations, where a checkpoint must know what the validation of its
            step found; it is then saved after that.
    """

    def __init__(
        self, folder: Path, every: int, contents: dict[str, Any], validate_every: int | None = None
    ) -> None:
        self.path = folder / LAST
        self.every = every
        self.contents = contents
        self.validate_every = validate_every
        self._due = False
        self._asked: signal.Signals | None = None
        self._stopping = False
        self._stopped_at: int | None = None
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add `contents`."""
        checkpoint["dnamamba"] = self.contents

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take over the stop signals; only a main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in STOP_SIGNALS}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        """Save when a checkpoint is due, or a stop was asked for."""
        if trainer.world_size == 1:
            self._stopping = self._asked is not None
        self._stopped_at = trainer.global_step if self._stopping else None
        self._due = self._stopped_at is not None or trainer.global_step % self.every == 0
        if self.validate_every is None or trainer.global_step % self.validate_every:
            self._save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save what was left until now."""
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        if self._due:
            trainer.save_checkpoint(self.path)
            self._due = False

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: Any, index: int
    ) -> None:
        """End the run once a checkpoint for it was saved and the step's metrics were logged.

        Raises:
            Interrupted: a stop was asked for.
        """
        if self._stopped_at is not None:
            name = "another process" if self._asked is None else self._asked.name
            queued = requeue() if self._asked == signal.SIGUSR1 and trainer.is_global_zero else ""
            raise Interrupted(
                f"stopped by {name} after step {self._stopped_at:,}; "
                f"go on with ckpt_path={self.path}{queued}",
                self._asked or signal.SIGTERM,
            )
        if trainer.world_size > 1:
            # Asked for at the start of a step, and done after it, so that no step waits for the answer.
            self._stopping = trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save what the last step made; from here on a stop has no step to wait for."""
        trainer.save_checkpoint(self.path)
        self._at_once = True

    def restore_signals(self) -> None:
        """Give the signals back to whoever had them before the run."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._at_once or self._asked is not None:  # asked twice: the user does not want to wait
            name = signal.Signals(number).name
            raise Interrupted(
                f"stopped by {name} at once; the last checkpoint is {self.path}", signal.Signals(number)
            )
        self._asked = signal.Signals(number)


def requeue() -> str:
    """Put the SLURM job that this is, if it is one, back into the queue; what to tell the user of it."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return ""
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        return f"; SLURM job {job} could not be queued again: no scontrol here"
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())
        return f"; SLURM job {job} could not be queued again: {reason}"
    return f"; SLURM job {job} is queued again"
