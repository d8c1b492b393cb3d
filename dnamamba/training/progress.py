"""What a person sees of a run while it runs."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
from rich.console import Console
from rich.progress import Progress

from dnamamba.objectives.base import Batch
from dnamamba.reached import left
from dnamamba.terminal import in_notebook
from dnamamba.training.bars import PERIOD, columns
from dnamamba.training.notebook_bar import NotebookBar

LINES = 10
"""Of a run, in a log."""
SILENCE = 600.0
"""Seconds without a line in a log, at most, once a step has ended."""


class Throughput(lightning.Callback):
    """Logs `train/bases_per_second`: targets read a second since the last log, loading included.

    Left out are validations, and the first step, in which kernels are compiled.
    """

    def __init__(self) -> None:
        self._bases = 0
        self._since: float | None = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Count steps and bases; log at the logger's pace."""
        if self._since is not None:
            rows, width = batch["tokens"].shape
            self._bases += rows * (width - 1) * trainer.world_size // module.context_size
            if not trainer._logger_connector.should_update_logs:
                return
            _wait_for(trainer.strategy.root_device)
            module.log("train/bases_per_second", self._bases / (time.perf_counter() - self._since))
        self._start(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Count anew."""
        self._start(trainer)

    def _start(self, trainer: lightning.Trainer) -> None:
        _wait_for(trainer.strategy.root_device)
        self._bases, self._since = 0, time.perf_counter()


def _wait_for(device: torch.device) -> None:
    """Wait for queued work: a clock read before its end would be early."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class ProgressReport(lightning.Callback):
    """A progress bar on a terminal and in a notebook; elsewhere a line now and then.

    That is every tenth of the run, and every `SILENCE` seconds.

    Args:
        console: where to write.
        title: of the bar.
        validation: what to say of a validation's metrics, which are named without `val/`.
    """

    def __init__(self, console: Console, title: str, validation: Callable[[dict[str, float]], str]) -> None:
        self.console = console
        self.validation = validation
        notebook = in_notebook() and not console.quiet
        self._drawn = notebook or console.is_terminal
        self.progress: Progress = (
            NotebookBar(*columns(title))
            if notebook
            else Progress(
                *columns(title), console=console, disable=not self._drawn, speed_estimate_period=PERIOD
            )
        )
        self._bar = self.progress.add_task("", total=None, metrics="")

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Show the bar, at the step a resumed run begins with."""
        self.progress.update(self._bar, total=trainer.max_steps, completed=trainer.global_step)
        self._first, self._began, self._compiling = trainer.global_step, time.monotonic(), True
        self._said = self._began
        if trainer.is_global_zero:
            self.progress.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Move the bar; its numbers change at the logger's pace: to read one is to wait for the device."""
        if not trainer.is_global_zero:
            return
        self.progress.update(self._bar, completed=trainer.global_step)
        if self._drawn and trainer._logger_connector.should_update_logs:
            self.progress.update(self._bar, metrics=_shown(trainer.callback_metrics))
        every = max(1, trainer.max_steps // LINES)
        now = time.monotonic()
        if self._compiling:
            # Kernels are compiled in the first step, which says nothing on the others.
            self._first, self._began, self._compiling = trainer.global_step, now, False
        due = trainer.global_step % every == 0 or now - self._said >= SILENCE
        if not self._drawn and due:
            self._said = now
            numbers = _shown(trainer.callback_metrics)
            done, total = trainer.global_step - self._first, trainer.max_steps - self._first
            rest = f"  {left(now - self._began, done, total)}" if 0 < done < total else ""
            self.console.print(
                f"step {trainer.global_step:,} of {trainer.max_steps:,}  {numbers}{rest}", soft_wrap=True
            )

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Print what a validation during training found."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return
        found = self.validation(module.found)
        self.console.print(f"step {trainer.global_step:,}: validation {found}", soft_wrap=True)

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        """Take the bar away before the error is printed."""
        self.progress.stop()

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Leave the finished bar behind."""
        self.progress.stop()


def _shown(metrics: Mapping[str, torch.Tensor]) -> str:
    """Return the numbers of a step that a person watches."""
    return "  ".join(
        f"{label} {metrics[key]:{style}}"
        for label, key, style in (
            ("loss", "train/loss", ".3f"),
            ("bits/base", "train/bits_per_base", ".3f"),
            ("bits/byte", "train/bits_per_byte", ".3f"),
            ("bases/s", "train/bases_per_second", ",.0f"),
            ("length", "train/length", ",.0f"),
        )
        if key in metrics
    )
