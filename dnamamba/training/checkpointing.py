"""Checkpoints that are whole or absent, and a stop that leaves one."""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dnamamba.errors import STOP_SIGNALS, Interrupted, UserError
from dnamamba.files import flush, replacing
from dnamamba.processes import may_take
from dnamamba.terminal import leave_closed_terminals
from dnamamba.training.metrics_file import MetricsFile
from dnamamba.training.row_sums import UNVALIDATED, note_rows, remains

LAST, NEXT = "last.ckpt", "next.ckpt"
ENDED = "ended"  # in a checkpoint: the run ended before its last step, for example by task.patience


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a temporary file, sync, rename: a killed process leaves the old checkpoint or the new one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint`, tensors and plain values, to `path`.

        Raises:
            UserError: it can't be written, for example since the disk is full; an older one is still there.
        """
        assert storage_options is None
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as beside, beside.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer forgets what the file system said
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            raise UserError(f"can't write the checkpoint {path} ({reason}); is the disk full?") from error


class LastCheckpoint(lightning.Callback):
    """Keeps `folder`/last.ckpt fresh, and ends a run early but whole on the stop signals.

    A checkpoint takes the name last.ckpt once its step was logged, so that a run that is killed between the
    two does the step again and its curve has no gap.

    The signals are this callback's from `take_signals` until `restore_signals`: while training they stop the
    run after its step, before and after that at once. SIGUSR1, by which SLURM says that the time is nearly
    up, stops as well and puts the job back into the queue. Where there are several processes, one that is
    asked to stop stops them all, after the same step.

    Args:
        folder: where last.ckpt goes.
        every: optimiser steps between two checkpoints.
        contents: plain values that go with the weights, such as the model's configuration.
        validate_every: optimiser steps between two validations.
        waits: whether a checkpoint must know what the validation of its step found, and is saved after it.
            Else it is saved before, and says so: a run that is killed in the validation does it when resumed.
    """

    def __init__(
        self, folder: Path, every: int, contents: dict[str, Any], validate_every: int, *, waits: bool
    ) -> None:
        self.path = folder / LAST
        self.every = every
        self.contents = contents
        self.validate_every = validate_every
        self.waits = waits
        self._next = folder / NEXT
        self._due = self._written = self._unvalidated = False
        self._saved = 0, False  # steps of the checkpoint that was written, and whether it is unvalidated
        self._trainer: lightning.Trainer | None = None
        self._training = False
        self._asked: signal.Signals | None = None
        self._asked_at = 0.0
        self._agreed: signal.Signals | None = None
        self._stopped_at: int | None = None
        self._before: dict[signal.Signals, Any] = {}
        self.gathered = threading.Event()

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add `contents`, and what is left to do of the step that a resumed run could not know."""
        ended = not self._training and trainer.should_stop and trainer.global_step < trainer.max_steps
        checkpoint["dnamamba"] = self.contents | {UNVALIDATED: self._unvalidated, ENDED: ended}

    def take_signals(self, trainer: lightning.Trainer) -> None:
        """Take over the stop signals, before `trainer` does anything; only a main thread may.

        Lightning puts its own handlers in front whenever it begins something, and they wait for the other
        processes from within the handler. So this is done again by the hooks that come next.
        """
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._stop) for number in filter(may_take, STOP_SIGNALS)}
            self._before = self._before or before
        self._trainer = trainer

    def setup(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        """Note that every process of the run has started."""
        self.gathered.set()

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take the signals; from here on a stop waits for the end of a step."""
        self.take_signals(trainer)
        self._training = True

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take the signals, while training and when the held-out records are scored."""
        self.take_signals(trainer)
        self._publish(trainer)  # a validation may outlive the time between SIGTERM and SIGKILL

    def on_test_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take the signals, as for a validation."""
        self.take_signals(trainer)

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
            self._agreed = self._asked
        self._stopped_at = None if self._agreed is None else trainer.global_step
        self._due = self._stopped_at is not None or trainer.global_step % self.every == 0
        # Without held-out data there are no validations.
        validates = trainer.global_step % self.validate_every == 0 and sum(trainer.num_val_batches) > 0
        if not (validates and self.waits):
            self._unvalidated = validates
            self._save(trainer)
            self._unvalidated = False

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save what was left until now."""
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        if self._due:
            trainer.save_checkpoint(self._next)
            self._saved = trainer.global_step, self._unvalidated
            self._due, self._written = False, True

    def _publish(self, trainer: lightning.Trainer) -> None:
        if self._written and trainer.is_global_zero:
            self._keep_rows(trainer, *self._saved)
            self._next.replace(self.path)
        self._written = False

    def save(self, trainer: lightning.Trainer) -> None:
        """Write last.ckpt at once, after whatever was logged."""
        self._keep_rows(trainer, trainer.global_step)
        trainer.save_checkpoint(self.path)

    def _keep_rows(self, trainer: lightning.Trainer, steps: int, unvalidated: bool = False) -> None:
        """Have what was logged on the disk, and its checksum: a power cut leaves no checkpoint without it.

        The first process does, which logs.

        Args:
            trainer: has the logger.
            steps: of the checkpoint that is about to get its name.
            unvalidated: whether the validation after them is done again when it is resumed from.
        """
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.save()
                rows = [row for row in logger.experiment.kept if remains(row, steps, unvalidated)]
                note_rows(self.path.parent, steps, unvalidated, rows)
        with suppress(FileNotFoundError):
            flush(self.path.parent.parent / "metrics.csv")

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: Any, index: int
    ) -> None:
        """End the run once a checkpoint for it was saved and the step's metrics were logged.

        Raises:
            Interrupted: a stop was asked for.
        """
        self._publish(trainer)
        self._end_if_stopped()
        # The step under which Lightning logs; resumed where the last had a validation, it is one too many.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        if trainer.world_size > 1:
            # Asked for at the start of a step, and done after it, so that no step waits for the answer.
            self._agreed = self._agree(trainer)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save what the last step made; from here on a stop has no step to wait for.

        Raises:
            Interrupted: a stop was asked for in the last step.
        """
        self._training = False
        self.save(trainer)
        self._written = False
        if trainer.is_global_zero:
            self._next.unlink(missing_ok=True)
        self._agreed, self._stopped_at = self._agree(trainer), trainer.global_step
        self._end_if_stopped()

    def _agree(self, trainer: lightning.Trainer) -> signal.Signals | None:
        """Return the signal that any process was sent; the largest, where there are several.

        So a job that is cancelled after its SIGUSR1 is not queued again.
        """
        asked = torch.tensor(self._asked or 0, device=trainer.strategy.root_device)
        agreed = int(trainer.strategy.reduce(asked, reduce_op="max"))
        return signal.Signals(agreed) if agreed else None

    def _end_if_stopped(self) -> None:
        if self._agreed is not None:
            where = f"after step {self._stopped_at:,}; resume with ckpt_path={self.path}"
            raise self._interrupted(self._agreed, where)

    def _interrupted(self, number: signal.Signals, where: str) -> Interrupted:
        """Return the error that ends the run; the first of several processes asks SLURM to requeue it."""
        assert self._trainer is not None
        queued = requeue() if number == signal.SIGUSR1 and self._trainer.is_global_zero else ""
        return Interrupted(f"stopped by {number.name} {where}{queued}", number)

    def asked(self) -> bool:
        """Return whether Python has seen a signal; one that waits in a library has not."""
        return self._asked is not None

    def restore_signals(self) -> None:
        """Give the signals back to whoever had them before the run."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            leave_closed_terminals()
        now, again = time.monotonic(), self._asked is not None
        # The same wish comes twice where a launcher passes on what its processes were sent too. Only a Ctrl-C
        # or Ctrl-\ some time after the first is a user who does not want to wait.
        if again and (number not in (signal.SIGINT, signal.SIGQUIT) or now < self._asked_at + 1):
            return
        self._asked, self._asked_at = signal.Signals(number), now
        if self._training and not again:
            return
        assert self._trainer is not None
        if self._trainer.strategy.launcher is not None:
            self._trainer.strategy.launcher.kill(number)  # to the processes that Lightning started
        last = f"the last checkpoint is {self.path}" if self.path.is_file() else "there is no checkpoint yet"
        raise self._interrupted(self._asked, f"at once; {last}")


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
