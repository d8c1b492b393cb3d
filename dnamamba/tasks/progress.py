"""What a person sees of a run while it runs."""

import time
from typing import Any

import lightning
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .language_modelling import Batch


class Throughput(lightning.Callback):
    """Logs `train/bases_per_second`: targets read a second since the last log, validation left out."""

    def __init__(self) -> None:
        self._bases = 0
        self._seconds = 0.0
        self._began = 0.0

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Batch, index: int) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Stop the clock; log at the logger's pace."""
        rows, width = batch["tokens"].shape
        self._bases += rows * (width - 1) * trainer.world_size
        self._seconds += time.perf_counter() - self._began
        stepped = (index + 1) % trainer.accumulate_grad_batches == 0
        if stepped and trainer._logger_connector.should_update_logs:
            module.log("train/bases_per_second", self._bases / self._seconds)
            self._bases, self._seconds = 0, 0.0


class ProgressReport(lightning.Callback):
    """A progress bar on a terminal; elsewhere a line every tenth of the run.

    Args:
        console: where to write.
        baselines: bits per base of each Markov order on the windows that are validated.
    """

    def __init__(self, console: Console, baselines: dict[int, float]) -> None:
        self.console = console
        self.baselines = baselines
        self.progress = Progress(
            TextColumn("pretraining"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[metrics]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self.progress.add_task("", total=None, metrics="")

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Show the bar, at the step a resumed run begins with."""
        self.progress.update(self._bar, total=trainer.max_steps, completed=trainer.global_step)
        if trainer.is_global_zero:
            self.progress.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Move the bar."""
        metrics = trainer.callback_metrics
        shown = "  ".join(
            f"{label} {metrics[key]:{style}}"
            for label, key, style in (
                ("loss", "train/loss", ".3f"),
                ("bits/base", "train/bits_per_base", ".3f"),
                ("bases/s", "train/bases_per_second", ",.0f"),
            )
            if key in metrics
        )
        self.progress.update(self._bar, completed=trainer.global_step, metrics=shown)
        stepped = (index + 1) % trainer.accumulate_grad_batches == 0
        if not self.console.is_terminal and trainer.is_global_zero and stepped:
            every = max(1, trainer.max_steps // 10)
            if trainer.global_step % every == 0:
                self.console.print(f"step {trainer.global_step:,} of {trainer.max_steps:,}  {shown}")

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Print what a validation during training found, with what a Markov model would have scored."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return
        bits = trainer.callback_metrics["val/bits_per_base"].item()
        markov = "".join(f", Markov {order} {value:.3f}" for order, value in self.baselines.items())
        self.console.print(f"step {trainer.global_step:,}: validation {bits:.4f}{markov}", soft_wrap=True)

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        """Take the bar away before the error is printed."""
        self.progress.stop()

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Leave the finished bar behind."""
        self.progress.stop()
