"""What `dnamamba benchmark` does: a suite by its name, a model, a table."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dnamamba.errors import UserError
from dnamamba.plugins import load_plugins
from dnamamba.suite import find_suite, run_benchmark


def benchmark(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Run the benchmark that `cfg` (conf/benchmark.yaml) names; see `run_benchmark`.

    Returns:
        What benchmark.json holds.

    Raises:
        UserError: a setting, a file of the suite or the model can't be used.
    """
    if not isinstance(cfg.name, str):
        raise UserError(f"name: must name a benchmark (got {cfg.name!r}); choose one, such as yeast_coding")
    if not isinstance(cfg.model, str | None):
        raise UserError(f"model: must be a path or null (got {cfg.model!r}); give a model's folder")
    if type(cfg.seed) is not int or cfg.seed < 0:
        raise UserError(f"seed: must be a whole number from 0 on (got {cfg.seed!r}); choose another")
    load_plugins(list(cfg.get("plugins") or []))
    return run_benchmark(find_suite(cfg.name), cfg.model, folder, device=str(cfg.device), seed=cfg.seed)
