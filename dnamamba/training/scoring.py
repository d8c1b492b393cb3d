"""Progress shown while held-out data are scored, after the training."""

import time
from collections.abc import Sequence
from typing import Any

import lightning
from rich.console import Console
from rich.progress import Progress

from dnamamba.objectives.base import Batch
from dnamamba.training.bars import PERIOD, columns, left

SILENCE = 30.0
"""Seconds without a line, where no bar can be drawn."""


class ScoringProgress(lightning.Callback):
    """A bar of batches on a terminal; elsewhere a line now and then.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._began = self._said = 0.0
        self._name, self._total, self._done = "", 0, 0

    def on_validation_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Begin with the validation split, unless this is a validation of a training."""
        if trainer.state.fn != "fit":
            self._start(trainer, "scoring valid", trainer.num_val_batches)

    def on_test_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Begin with the test split."""
        self._start(trainer, "scoring test", trainer.num_test_batches)

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, index: int, number: int = 0
    ) -> None:
        """Count a batch."""
        if trainer.state.fn != "fit":
            self._advance(trainer)

    def on_test_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, index: int, number: int = 0
    ) -> None:
        """Count a batch."""
        self._advance(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Take the bar away."""
        self._stop()

    def on_test_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Take the bar away."""
        self._stop()

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        """Take the bar away before the error is printed."""
        self._stop()

    def _start(self, trainer: lightning.Trainer, name: str, batches: Sequence[int | float]) -> None:
        if not trainer.is_global_zero:
            return
        self._name, self._total, self._done = name, int(sum(batches)), 0
        self._began = self._said = time.monotonic()
        if self.console.is_terminal:
            self._progress = Progress(
                *columns(name), console=self.console, transient=True, speed_estimate_period=PERIOD
            )
            self._progress.add_task("", total=self._total, metrics="batches")
            self._progress.start()

    def _advance(self, trainer: lightning.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        self._done += 1
        now = time.monotonic()
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=self._done)
        elif now - self._said >= SILENCE:
            self._said = now
            rest = left(now - self._began, self._done, self._total)
            self.console.print(f"{self._name}: {self._done:,} of {self._total:,} batches, {rest}")

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
