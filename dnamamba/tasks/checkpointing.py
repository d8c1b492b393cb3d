"""Checkpoints that are whole or absent, and a stop that leaves one."""

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

LAST = "last.ckpt"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside, sync, rename: a process killed at any moment leaves the old checkpoint or the new one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint`, tensors and plain values, to `path`."""
        assert storage_options is None
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with beside.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


class LastCheckpoint(lightning.Callback):
    """Keeps `folder`/last.ckpt fresh, and ends a run early but whole on SIGINT or SIGTERM.

    A checkpoint is only ever taken between optimiser steps: gradients half accumulated can't be stored.

    Args:
        folder: where last.ckpt goes.
        every: optimiser steps between two checkpoints.
        contents: plain values that go with the weights, such as the model's configuration.

    Attributes:
        stopped_by: the signal that ended the run, if one did.
    """

    def __init__(self, folder: Path, every: int, contents: dict[str, Any]) -> None:
        self.path = folder / LAST
        self.every = every
        self.contents = contents
        self.stopped_by: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add `contents`."""
        checkpoint["dnamamba"] = self.contents

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take over the stop signals; only a main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request_stop) for number in STOP_SIGNALS}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        """Save when a checkpoint is due, or a stop was asked for."""
        if (index + 1) % trainer.accumulate_grad_batches:
            return
        if self.stopped_by is not None:
            trainer.should_stop = True
        if self.stopped_by is not None or trainer.global_step % self.every == 0:
            trainer.save_checkpoint(self.path)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save what the last step made, and give the signals back."""
        trainer.save_checkpoint(self.path)
        self._restore_signals()

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self._restore_signals()

    def _restore_signals(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped_by is not None:  # asked twice: the user does not want to wait for the step
            raise KeyboardInterrupt
        self.stopped_by = signal.Signals(number)
