"""What a person sees of a run: on a narrow terminal, in a log, while held-out data are scored."""

import io
from types import SimpleNamespace

import pytest
import torch
from rich.progress import Progress

from dnamamba import reached
from dnamamba.reached import left
from dnamamba.terminal import Console
from dnamamba.training import progress as training_progress
from dnamamba.training.bars import PERIOD, columns
from dnamamba.training.progress import ProgressReport
from dnamamba.training.scoring import ScoringProgress


def run_of(state: str, **more: object) -> SimpleNamespace:
    """What the callbacks ask of a trainer."""
    connector = SimpleNamespace(should_update_logs=True)
    state_ = SimpleNamespace(fn=state)
    return SimpleNamespace(is_global_zero=True, state=state_, _logger_connector=connector, **more)


@pytest.mark.parametrize("width", [80, 60])
def test_steps_and_time_left_fit_a_narrow_terminal(width: int) -> None:
    now = [0.0]
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    bar = Progress(
        *columns("fine-tuning"), console=console, get_time=lambda: now[0], speed_estimate_period=PERIOD
    )
    metrics = "loss 1.234  bits/base 1.987  bases/s 123,456  length 1,048,576"
    bar.add_task("", total=20_000, metrics=metrics)
    for step in (0, 10, 20):
        now[0] = 4.0 * step
        bar.update(bar.task_ids[0], completed=step)
    console.print(bar)
    (line,) = [line for line in console.file.getvalue().splitlines() if line.strip()]
    assert len(line) <= width
    assert " 20/20000 " in line
    assert "22:12:00" in line, "19,980 steps of 4 s each"
    assert "loss" in line


@pytest.mark.parametrize(
    ("seconds", "done", "total", "said"),
    [
        (10.0, 1, 5, "about 40 s left"),
        (60.0, 10, 40, "about 3 min left"),
        (5400.0, 1, 3, "about 3.0 h left"),
    ],
)
def test_time_left_is_said_in_its_unit(seconds: float, done: int, total: int, said: str) -> None:
    assert left(seconds, done, total) == said


def test_a_log_has_a_line_after_long_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(training_progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    report = ProgressReport(console, "pretraining", lambda found: "")
    trainer = run_of("fit", max_steps=1000, global_step=0, callback_metrics={"train/loss": torch.tensor(1.5)})
    report.on_train_start(trainer, None)
    for step in range(1, 8):
        trainer.global_step, now[0] = step, 400.0 * step
        report.on_train_batch_end(trainer, None, None, {}, 0)
    lines = console.file.getvalue().splitlines()
    assert [line.partition("  ")[0] for line in lines] == [f"step {step} of 1,000" for step in (2, 4, 6)]
    assert lines[0].endswith("loss 1.500  about 110.9 h left")


def test_scoring_tells_batches_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(reached.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    shown = ScoringProgress(console)
    trainer = run_of("test", num_test_batches=[10], num_val_batches=[4])
    shown.on_test_start(trainer, None)
    for batch in range(10):
        now[0] += 20.0
        shown.on_test_batch_end(trainer, None, None, {}, batch)
    shown.on_test_end(trainer, None)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "scoring test: 2 of 10 batches, about 3 min left"
    assert lines[1] == "scoring test: 4 of 10 batches, about 2 min left"


def test_scoring_shows_a_bar_on_a_terminal_but_not_while_training() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    shown = ScoringProgress(console)
    trainer = run_of("fit", num_val_batches=[4])
    shown.on_validation_start(trainer, None)
    shown.on_validation_batch_end(trainer, None, None, {}, 0)
    assert not console.file.getvalue()
    trainer.state.fn = "validate"
    shown.on_validation_start(trainer, None)
    for batch in range(3):
        shown.on_validation_batch_end(trainer, None, None, {}, batch)
    shown.on_validation_end(trainer, None)
    assert "scoring valid" in console.file.getvalue()
    assert "3/4" in console.file.getvalue()
