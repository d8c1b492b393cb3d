"""Progress shown while held-out data are scored, after the training."""

from collections.abc import Sequence
from typing import Any

import lightning
from rich.console import Console
from rich.progress import Progress

from dnamamba.objectives.base import Batch
from dnamamba.reached import Lines
from dnamamba.training.bars import PERIOD, columns


class ScoringProgress(lightning.Callback):
    """A bar of batches on a terminal; elsewhere a line now and then.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._lines: Lines | None = None
        self._done = 0

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
        total, self._done = int(sum(batches)), 0
        if self.console.is_terminal:
            self._progress = Progress(
                *columns(name), console=self.console, transient=True, speed_estimate_period=PERIOD
            )
            self._progress.add_task("", total=total, metrics="batches")
            self._progress.start()
        else:
            self._lines = Lines(name, total, "batches", self.console.print)

    def _advance(self, trainer: lightning.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=self._done)
        elif self._lines is not None:
            self._lines(1)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
