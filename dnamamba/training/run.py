"""The one loop of every run: what is trained, on what, for what, and what the run leaves behind.

A recipe (`pretraining.py`, `finetuning.py`) builds a `Run`; `Run.execute` trains it.
"""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import lightning
import yaml
from lightning.pytorch.strategies import ModelParallelStrategy

from dnamamba.checkpoint import Model
from dnamamba.datasets.base import DataModule
from dnamamba.errors import UserError
from dnamamba.files import LOCK, locked, remove_leftovers, replacing
from dnamamba.models.base import need_reach
from dnamamba.objectives.base import Objective
from dnamamba.reports.figures import read_metrics
from dnamamba.terminal import Console
from dnamamba.training.checkpointing import NEXT, LastCheckpoint
from dnamamba.training.chunk_size import by_graphs, chunk_of, one_chunk_by_graphs
from dnamamba.training.compiling import compiled
from dnamamba.training.config import TrainConfig
from dnamamba.training.gathering import announce, ending_on_signals
from dnamamba.training.keep_best import KeepBest
from dnamamba.training.lost import lost_line, one_line_if_lost
from dnamamba.training.module import Task
from dnamamba.training.progress import ProgressReport, Throughput
from dnamamba.training.resumable import check_resumable
from dnamamba.training.resume import Resumed, checkpoint_to_resume, forget_outcome
from dnamamba.training.saving import save_trained
from dnamamba.training.scoring import ScoringProgress
from dnamamba.training.watching import watched


@dataclass(frozen=True)
class Outcome:
    """What one held-out split showed.

    Attributes:
        metrics: by name.
        scored: what the objective's meter keeps of the examples, see `Meter.scored`.
    """

    metrics: dict[str, float]
    scored: Any = None


class Report(Protocol):
    """What a recipe prints and writes of a run."""

    title: str

    def introduction(self) -> Sequence[str]:
        """Return lines to print before the first step."""

    def validation(self, metrics: dict[str, float]) -> str:
        """Describe a validation in a line, while training."""

    def finish(
        self, console: Console, folder: Path, outcomes: dict[str, Outcome], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Write results and pictures into `folder`, print a table, and return the results.

        Args:
            console: to print to.
            folder: of the run.
            outcomes: by split.
            facts: steps and seconds of the training.
        """


class Fit(Protocol):
    """A way to find the weights, other than by gradient (`training/fits`)."""

    def fit(self, trainer: lightning.Trainer, task: Task, data: DataModule, console: Console) -> None:
        """Give the model its weights.

        Args:
            trainer, task, data: of the run.
            console: shows the progress.
        """

    def before_scoring(self, task: Task, split: str) -> None:
        """Give the model what it is scored with on a split."""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        folder: of its files.
        model: on the CPU, in evaluation mode.
        results: what results.json or metrics.json holds.
        history: the rows of metrics.csv, a dict each of the cells that a row has. `step` counts from 0 in
            training and its validations; the scores of all held-out examples in the end have the number of
            steps.
    """

    folder: Path
    model: Model
    results: dict[str, Any]
    history: list[dict[str, float]]


@dataclass
class Run:
    """A run that is ready to start: every file is read and every setting checked.

    Attributes:
        folder: takes everything that the run writes.
        model: what is trained.
        objective: what it is trained for.
        data: what it reads.
        train: steps, learning rate, rhythm.
        trainer: Lightning's, for the devices.
        report: what is printed and written.
        contents: plain values that checkpoints hold.
        unchanged: which keys of `contents` a resumed run must find again, by group.
        configuration: the text of config.yaml, or None.
        notes: other texts that the folder takes, by their path in it.
        ckpt_path: what to resume, see `checkpoint_to_resume`.
        layer_decay: the learning rate of a block relative to that of the one above it.
        keep_best: keeps the weights of the best validation; None keeps the last.
        fit: finds the weights in another way than by gradient.
        finishers: change the trained model before it is saved, such as merging adapters.
        context_size: processes that read a sequence together.
        console: for what a person reads.

    Raises:
        UserError: the model can't read sequences as long as the data's, or can't read them by chunks.
    """

    folder: Path
    model: Any
    objective: Objective
    data: DataModule
    train: TrainConfig
    trainer: lightning.Trainer
    report: Report
    contents: dict[str, Any]
    unchanged: Mapping[str, Sequence[str]]
    configuration: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    ckpt_path: str | None = None
    layer_decay: float = 1.0
    keep_best: KeepBest | None = None
    fit: Fit | None = None
    finishers: Sequence[Callable[[Any], None]] = ()
    context_size: int = 1
    console: Console = field(default_factory=Console)

    def __post_init__(self) -> None:
        need_reach(self.model.backbone, max(stage.length for stage in self.data.schedule.stages))
        if self.fit is not None and self.train.chunk_bases is not None:
            raise UserError(
                "train.chunk_bases: nothing is trained by gradient with task.fit=closed (got "
                f"{self.train.chunk_bases}); leave it null"
            )
        self.data.chunk = chunk_of(self.train, self.model, self.objective, self.data, self.trainer)
        parts = self.train, self.model, self.objective, self.data, self.trainer
        self._one_chunk = one_chunk_by_graphs(*parts)
        self._by_graphs = not self._one_chunk and by_graphs(*parts)

    def execute(self) -> Result | None:
        """Return train, save, score and report.

        Returns:
            The result; None in a process that is not the run's first.

        Raises:
            UserError: the checkpoint can't be resumed, or another run is writing the folder; nothing was
                written.
            Interrupted: a signal stopped the run; a checkpoint to resume is in the folder.
        """
        with locked(self.folder) if self.trainer.is_global_zero else nullcontext():
            return self._execute()

    def _execute(self) -> Result | None:
        trainer, data, folder = self.trainer, self.data, self.folder
        max_steps = data.schedule.max_steps
        trainer.fit_loop.epoch_loop.max_steps = max_steps
        resumed = checkpoint_to_resume(
            self.ckpt_path, folder, self.contents, max_steps, self.unchanged, self._check_checkpoint
        )
        if resumed is not None and resumed.ended:
            max_steps = trainer.fit_loop.epoch_loop.max_steps = resumed.steps
        task = Task(
            self.model,
            self.objective,
            self.train,
            max_steps,
            layer_decay=self.layer_decay,
            micro_batch=data.micro_batch,
            describe=data.describe,
            context_size=self.context_size,
            pad_id=data.alphabet.pad_id,
            chunk=data.chunk,
            graphs=self._by_graphs,
            one_chunk=data.common_length if self._one_chunk else None,
        )
        best = [] if self.keep_best is None else [self.keep_best]
        last = LastCheckpoint(
            folder / "checkpoints",
            self.train.checkpoint_every,
            self.contents,
            self.train.validate_every,
            waits=bool(best),
        )
        progress = ProgressReport(self.console, self.report.title, self.report.validation)
        trainer.callbacks.extend([Throughput(), progress, ScoringProgress(self.console), *best, last])  # type: ignore[attr-defined]
        for line in self.report.introduction():
            self.console.print(line, soft_wrap=True)
        if data.chunk is not None:
            how = self.train.backpropagation
            graphs = ", by CUDA graphs" if self._by_graphs else ""
            self.console.print(f"read by chunks of {data.chunk:,} bases, {how} gradients{graphs}")
        elif (
            self.objective.packs
            and data.common_length is None
            and self.model.backbone.packs_on(trainer.strategy.root_device)
            and not self.train.compile
        ):
            self.console.print(
                "sequences differ in length: read packed, without padding, where that is faster"
            )

        began = time.perf_counter()
        if self.fit is not None:
            # Before there is a folder: a pass that is stopped leaves nothing.
            self.fit.fit(trainer, task, data, self.console)
        self._begin(resumed)
        last.take_signals(trainer)
        try:
            with (
                one_line_if_lost(last.path),
                watched(
                    trainer,
                    last.gathered,
                    lambda how: lost_line(how, last.path),
                    lambda: self._give_up(signal.SIGKILL),
                ),
            ):
                with compiled(self.model, self.train.compile and self.fit is None):
                    if self.fit is None:
                        announce(trainer, self.console)
                        with ending_on_signals(last.gathered, last.asked, self._give_up):
                            self._resume_and_train(task, resumed, last)
                seconds = time.perf_counter() - began
                if self.keep_best is not None:
                    self.keep_best.restore(self.model)
                for finish in self.finishers:
                    finish(self.model)
                save_trained(self.model, folder / "model", trainer.is_global_zero)
                outcomes = self._score(task)
        finally:
            last.restore_signals()
        if not trainer.is_global_zero:
            return None
        steps = max_steps if self.fit is not None else trainer.global_step
        facts = {"steps": steps, "training_seconds": round(seconds, 1)}
        results = self.report.finish(self.console, folder, outcomes, facts)
        metrics = folder / "metrics.csv"
        history = read_metrics(metrics) if metrics.is_file() else []
        return Result(folder, self.model.cpu().eval(), results, history)

    def _resume_and_train(self, task: Task, resumed: Resumed | None, last: LastCheckpoint) -> None:
        path = None if resumed is None else resumed.path
        if resumed is not None and resumed.unvalidated:
            self._log_at(resumed.steps - 1)  # as the training would have
            self.trainer.validate(task, datamodule=self.data, ckpt_path=path, verbose=False)
        self.trainer.fit(task, datamodule=self.data, ckpt_path=path)
        if resumed is not None and resumed.unvalidated and resumed.ended:
            last.save(self.trainer)  # it says so no longer

    def _check_checkpoint(self, checkpoint: dict[str, Any], path: Path) -> None:
        # Elsewhere parameters are parts, are of another dtype, or their steps may be left out by a scaler.
        whole = not isinstance(self.trainer.strategy, ModelParallelStrategy)
        if whole and self.trainer.precision in ("32-true", "bf16-mixed"):
            parts = {"model": self.model, "objective": self.objective, "meter": self.objective.meter()}
            check_resumable(checkpoint, parts, self.layer_decay, path)

    def _give_up(self, number: signal.Signals) -> None:
        """End the processes that Lightning started, and let go of the folder."""
        if self.trainer.strategy.launcher is not None:
            self.trainer.strategy.launcher.kill(number)
        if self.trainer.is_global_zero:
            (self.folder / LOCK).unlink(missing_ok=True)

    def _log_at(self, step: int) -> None:
        """Set the step of what is logged outside the training, where Lightning takes its last."""
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = step

    def _begin(self, resumed: Resumed | None) -> None:
        """Make the folder, with the configuration and what an interrupted run had logged.

        Of several processes only the first reads that: its logger is about to begin the same file anew.
        """
        if not self.trainer.is_global_zero:
            return
        earlier = resumed.metrics() if resumed is not None else []
        checkpoints = self.folder / "checkpoints"
        for place in (self.folder, checkpoints):
            remove_leftovers(place)
        (checkpoints / NEXT).unlink(missing_ok=True)  # it never became the last
        forget_outcome(self.folder)
        texts = {} if self.configuration is None else {"config.yaml": self.configuration}
        for name, text in {**texts, **self.notes}.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as beside:
                beside.write_text(text, encoding="utf-8", errors="surrogateescape")
        if self.configuration is not None:
            settings = yaml.safe_load(self.configuration)
            others = self.trainer.loggers[1:]  # the first is metrics.csv, next to which config.yaml lies
            for logger in others:
                logger.log_hyperparams(settings)
        for row in earlier:
            step = int(row.pop("step"))
            row |= {name: int(row[name]) for name in ("epoch",) if name in row}
            for logger in self.trainer.loggers:
                logger.log_metrics(row, step)

    def _score(self, task: Task) -> dict[str, Outcome]:
        """Return the metrics of every example of every split that is held out."""
        outcomes = {}
        if self.fit is None:
            # Which Lightning counts otherwise where a resumed run has no step left.
            self._log_at(self.trainer.global_step)
            self.trainer.fit_loop.epoch_progress.current.completed = 0
        for split, loader in self.data.held_out_loaders():
            if self.fit is not None:
                self.fit.before_scoring(task, split)
            score = self.trainer.validate if split == "valid" else self.trainer.test
            score(task, dataloaders=loader, verbose=False)
            outcomes[split] = Outcome(task.found, task.meter.scored)
        return outcomes


def run_folder(folder: str | Path) -> Path:
    """Return the folder of a run.

    Raises:
        UserError: the name is empty, which `Path` would take for the working directory.
    """
    if not str(folder).strip():
        raise UserError("folder: is empty; name the folder of the run")
    return Path(folder)


def size_of(model: Any) -> str:
    """Return the family and size of a model, as a person reads it."""
    number = sum(parameter.numel() for parameter in model.parameters())
    return f"{model.config.family.rpartition('.')[2].capitalize()} with {number:,} parameters"
