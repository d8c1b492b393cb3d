"""Which stretches are read for embeddings, and which rows of the result each makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.errors import UserError
from dnamamba.inference.inputs import Region
from dnamamba.inference.pooling import POOLINGS

STRANDS = ("forward", "both")


@dataclass(frozen=True)
class EmbeddingConfig:
    """How embeddings are made; `embed` explains each.

    Raises:
        UserError: a value is out of range, or two of them do not go together.
    """

    layer: int = -1
    pooling: str = "mean"
    strand: str = "forward"
    window: int | None = None
    stride: int | None = None
    pool_every: int | None = None

    def __post_init__(self) -> None:
        for key, choices in (("pooling", POOLINGS), ("strand", STRANDS)):
            if getattr(self, key) not in choices:
                raise UserError(f"{key} must be one of {', '.join(choices)}, not {getattr(self, key)!r}")
        for key in ("window", "stride", "pool_every"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"{key} must be at least 1, not {value}")
        if self.stride is not None and self.window is None:
            raise UserError(f"stride={self.stride} needs a window: it says how far apart windows begin")
        if self.pool_every is not None and (self.window is not None or self.pooling == "none"):
            raise UserError(
                "pool_every pools one context in stretches: it goes with neither window nor pooling=none"
            )


class Table(NamedTuple):
    """Regions by columns: record and BED name as letters, start and end int64; [n] each."""

    record: NDArray[np.str_]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    name: NDArray[np.str_]

    def regions(self) -> list[Region]:
        """The same by rows."""
        return [Region(*row) for row in zip(*(column.tolist() for column in self), strict=True)]


class Plan:
    """Which stretches are read, each from an empty state, and which rows of the result each makes.

    Attributes:
        region: int64 [contexts], the number of its region.
        start, end: int64 [contexts], its place in the record.
        first_row: int64 [contexts + 1].
    """

    def __init__(self, regions: list[Region], config: EmbeddingConfig) -> None:
        self.regions = regions
        self.config = config
        lengths = np.array([region.length for region in regions], dtype=np.int64)
        window = config.window
        stride = config.stride or window
        count = np.ones_like(lengths)
        if window is not None and stride is not None:
            # Up to the first window that reaches the end; with gaps between windows there may be none.
            count += -(-np.maximum(lengths - window, 0) // stride)
            count = np.minimum(count, np.maximum(-(-lengths // stride), 1))
        self.region = np.repeat(np.arange(len(regions)), count)
        number = np.arange(len(self.region)) - np.repeat(np.cumsum(count) - count, count)
        region_start = np.array([region.start for region in regions], dtype=np.int64)[self.region]
        region_end = region_start + lengths[self.region]
        self.start = region_start + number * (stride or 0)
        self.end = region_end if window is None else np.minimum(self.start + window, region_end)
        length = self.end - self.start
        if config.pooling == "none":
            rows = length
        else:
            rows = np.ones_like(length) if config.pool_every is None else -(-length // config.pool_every)
        self.first_row = np.concatenate(([0], np.cumsum(rows)))

    @property
    def rows(self) -> int:
        """Vectors in the result."""
        return int(self.first_row[-1])

    def table(self) -> Table:
        """What each row was pooled from; with pooling "none" each context, whose rows are its bases."""
        context = np.arange(len(self.region))
        start, end = self.start, self.end
        if self.config.pool_every is not None:
            rows = np.diff(self.first_row)
            context = np.repeat(context, rows)
            number = np.arange(self.rows) - np.repeat(self.first_row[:-1], rows)
            start = start[context] + number * self.config.pool_every
            end = np.minimum(start + self.config.pool_every, end[context])
        region = self.region[context]
        records = np.array([region.record for region in self.regions])
        names = np.array([region.name for region in self.regions])
        return Table(records[region], start, end, names[region])
