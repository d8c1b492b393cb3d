"""metrics.csv: rows that a kill does not take away."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment

from dnamamba.files import replacing
from dnamamba.training.row_sums import Kept


class MetricsFile(CSVLogger):
    """Lightning's CSV logger, whose file is never half there.

    Lightning removes an earlier run's file before it has another, and empties the file to write a new column
    into it. Here the earlier file stays until the first rows take its place, and a new column comes with all
    rows at once.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=str(folder), name="", version="")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What holds and writes the rows."""
        if self._experiment is None:
            os.makedirs(self.log_dir, exist_ok=True)
            self._experiment = _Rows(self.log_dir)
        return self._experiment


class _Rows(ExperimentWriter):
    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._begun = False
        self.kept: list[Kept] = []  # of each row that was logged

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Record a row."""
        super().log_metrics(metrics_dict, step)
        row = self.metrics[-1]
        self.kept.append(Kept.of({name: value for name, value in row.items() if value not in (None, "")}))

    def _check_log_dir_exists(self) -> None:
        """Leave an earlier file alone until `save`."""

    def save(self) -> None:
        """Append the rows since the last call; with a new column, or the first time, write the file anew."""
        if not self.metrics:
            return
        path = Path(self.metrics_file_path)
        if self._record_new_keys() or not self._begun:
            rows: list[dict[str, Any]] = []
            if self._begun and path.is_file():
                with path.open(newline="", encoding="utf-8") as file:
                    rows = list(csv.DictReader(file))
            with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
                self._write(file, [*rows, *self.metrics], header=True)
            self._begun = True
        else:
            with path.open("a", newline="", encoding="utf-8") as file:
                self._write(file, self.metrics, header=False)
        self.metrics = []

    def _write(self, file: Any, rows: list[dict[str, Any]], *, header: bool) -> None:
        writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
        if header:
            writer.writeheader()
        writer.writerows(rows)
