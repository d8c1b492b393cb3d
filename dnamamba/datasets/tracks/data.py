"""A genome and signal along it as windows with a number for every bin."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.data.position_windows import Targets
from dnamamba.data.signal import bins_with, read_signal
from dnamamba.datasets.positions import PositionsData
from dnamamba.datasets.tracks.config import TracksConfig
from dnamamba.errors import UserError
from dnamamba.heads.signal import Signal
from dnamamba.models import PositionConfig
from dnamamba.models.pooling import UNKNOWN, base_table


class TracksData(PositionsData):
    """Windows with the mean of each track over every bin. Arguments and errors as of `DataModule`."""

    config_class = TracksConfig

    def targets_of(self) -> Targets:
        """Read all tracks, joined per bin; NaN where one was not measured."""
        config: TracksConfig = self.config
        self.said: list[str] = []
        found = []
        for name, path in config.files.items():
            signal = read_signal(
                path,
                self.genome.lengths,
                self.genome.path,
                config.bin,
                missing=config.missing,
                unknown=config.unknown,
            )
            self.said += [f"{name}: {line}" for line in signal.notes]
            least = min(float(np.nanmin(row, initial=math.inf)) for row in signal.values.values())
            if config.loss != "mse" and least < 0:
                raise UserError(
                    f"data.tracks.{name}: has negative values, which data.loss={config.loss} can't be of "
                    f"(got {least:g}); choose data.loss=mse"
                )
            found.append(signal.values)
        values = {name: np.stack([track[name] for track in found], 1) for name in self.genome.lengths}
        known = base_table(self.alphabet.name).numpy() != UNKNOWN
        for name, row in values.items():  # of N alone there is nothing to learn from
            row[~bins_with(known[self.genome.fetch(name)], config.bin)] = math.nan
        order = np.array(self._complement())

        def turned(rows: NDArray[Any]) -> NDArray[Any]:
            return rows[:, order]

        return Targets(values, config.bin, turned, math.nan)

    def _complement(self) -> list[int]:
        """Return the number of the track that each is on the other strand."""
        names = list(self.config.names)
        order = list(range(len(names)))
        for one, other in self.config.pairs:
            i, j = names.index(str(one)), names.index(str(other))
            order[i], order[j] = j, i
        return order

    def question(self, context: str, conv: int) -> PositionConfig:
        """Return the head's configuration: the mean of each track per bin."""
        config: TracksConfig = self.config
        asked = PositionConfig(
            "signal",
            config.names,
            tuple(self._complement()),
            config.max_length,
            context=context,
            conv=conv,
            bin=config.bin,
            loss=config.loss,
            scaling=config.scaling,
            means=(1.0,) * len(config.names),
            count_weight=config.count_weight,
        )
        head = Signal(asked)
        total, number = np.zeros(len(config.names)), np.zeros(len(config.names))
        for one in self.splits.train:
            rows = self.targets.of(one.name, one.start, one.length)
            there = ~np.isnan(rows)
            scaled = head.scaled(torch.from_numpy(np.where(there, rows, 0.0)).double()).numpy()
            total += scaled.sum(0)
            number += there.sum(0)
        for name, count in zip(config.names, number, strict=True):
            if not count:
                raise UserError(f"data.tracks.{name}: no training bin has a value")
        return PositionConfig(**{**asked.to_dict(), "means": tuple((total / number).tolist())})

    @property
    def train_counts(self) -> tuple[list[int], int]:
        """Tracks have no classes to count."""
        return [1] * len(self.config.names), len(self.config.names)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the files were read, and bins of each track that were measured."""
        measured = sum((~np.isnan(row)).sum(0) for row in self.targets.values.values())
        total = sum(len(row) for row in self.targets.values.values())
        shares = ", ".join(
            f"{name} {100 * count / total:.1f} %"
            for name, count in zip(self.config.names, np.atleast_1d(measured), strict=True)
        )
        return (
            *self.synonyms.said(),
            *self.said,
            f"bins of {self.config.bin} bases that have a value: {shares}",
        )


TracksConfig.module = TracksData
