"""What `dnamamba benchmark` does: a suite by its name, a model, a table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnamamba.errors import Interrupted, UserError, signal_of
from dnamamba.plugins import load_plugins
from dnamamba.suite import find_suite, run_benchmark


@dataclass(frozen=True)
class BenchmarkConfig:
    """The settings of conf/benchmark.yaml, which explains each.

    Raises:
        UserError: the seed is negative.
    """

    name: str
    model: str | None = None
    device: str = "auto"
    seed: int = 0
    task: str | None = None
    files: str | None = None
    examples: int | None = None
    protocols: list[str] | None = None
    linter: str | None = None
    plugins: list[str] | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed: must be at least 0 (got {self.seed}); choose another")


def benchmark(config: BenchmarkConfig, folder: Path) -> dict[str, Any]:
    """Run a benchmark; see `run_benchmark`.

    Returns:
        What benchmark.json holds.

    Raises:
        UserError: a setting, a file of the suite or the model can't be used.
    """
    load_plugins(config.plugins or [])
    suite = find_suite(config.name, config.task, config.files or "", config.examples)
    try:
        return run_benchmark(
            suite,
            config.model,
            folder,
            device=config.device,
            seed=config.seed,
            protocols=config.protocols,
            linter=config.linter,
        )
    except KeyboardInterrupt as stop:
        kept = folder.is_dir() and any(folder.iterdir())
        left = f"what is finished lies in {folder}" if kept else "nothing was written"
        raise Interrupted(f"stopped before all protocols were measured; {left}", signal_of(stop)) from None
