"""Which intervals are read for embeddings, and which rows of the result each makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Ids
from dnamamba.errors import UserError
from dnamamba.inference.answers import need_sequence_model
from dnamamba.inference.inputs import Inputs, Region
from dnamamba.models.readout import pooled_size

if TYPE_CHECKING:
    from dnamamba.inference.streaming import Reader

Pooling = Literal["mean", "last", "next", "head", "none"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
MISSING = ("nan", "drop", "error")
_SHOWN = 5  # regions named in one line
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
    context: str = "forward"

    def __post_init__(self) -> None:
        choices_of = (("pooling", POOLINGS), ("strand", STRANDS), ("context", STRANDS))
        for key, choices in choices_of:
            if getattr(self, key) not in choices:
                raise UserError(f"{key}: must be one of {', '.join(choices)} (got {getattr(self, key)!r})")
        for key in ("window", "stride", "pool_every"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"{key}: must be at least 1 (got {value})")
        if self.stride is not None and self.window is None:
            raise UserError(f"stride={self.stride} needs a window: it says how far apart windows begin")
        if self.pool_every is not None and (self.window is not None or self.pooling == "none"):
            raise UserError(
                "pool_every divides one context into bins: use it without window and without pooling=none"
            )
        if self.by_head and self.pool_every is not None:
            raise UserError(f"pool_every: bins have a mean or last vector (got pooling={self.pooling})")
        if self.pooling == "last" and self.context == "both":
            raise UserError(
                "context=both with pooling=last: where one strand ends the other has read one base; choose "
                "another pooling"
            )

    @property
    def by_head(self) -> bool:
        """Whether vectors are made by the code of a head."""
        return self.pooling in ("next", "head")

    @property
    def directions(self) -> tuple[bool, ...]:
        """In which directions a context is read: whether in reverse."""
        return (False, True) if "both" in (self.strand, self.context) else (False,)

    def of(self, model: Model) -> EmbeddingConfig:
        """Return what is meant for a model: with pooling `head`, strand and context are the model's.

        Raises:
            UserError: the model has no head that reads a sequence, or a setting has no meaning for it.
        """
        if self.by_head and self.layer not in (-1, model.config.depth):
            raise UserError(
                f"layer: a head reads the last one, -1 (got {self.layer} with pooling={self.pooling})"
            )
        if self.pooling != "head":
            return self
        decoder = need_sequence_model(model, "pooling=head: this").decoder
        for key in ("strand", "context"):
            if getattr(self, key) not in ("forward", getattr(decoder, key)):
                raise UserError(
                    f"{key}: with pooling=head it is the model's, {getattr(decoder, key)} (got "
                    f"{getattr(self, key)}); leave it out"
                )
        return replace(self, strand=decoder.strand, context=decoder.context)

    def width(self, model: Model) -> int:
        """Return the number of channels of a vector."""
        if self.pooling == "head":
            return need_sequence_model(model).head.in_features
        width = model.config.width * (2 if self.context == "both" else 1)
        return pooled_size(self.pooling, width)


class Part(NamedTuple):
    """Rows of the result as they come.

    Attributes:
        context: its number in the plan.
        row: the first of these rows in the result.
        values: float32 [n, D].
        complete: whether this is the last part of its context.
    """

    context: int
    row: int
    values: NDArray[np.float32]
    complete: bool


class Table(NamedTuple):
    """Regions by columns: record, BED name and strand as text, start and end int64; [n] each.

    Text columns hold Python's strings, each in memory once: one long name must not widen all others.
    """

    record: NDArray[np.object_]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    name: NDArray[np.object_]
    strand: NDArray[np.object_]

    def rows(self, keep: NDArray[np.bool_]) -> Table:
        """Return some of the rows."""
        record, start, end, name, strand = self
        return Table(record[keep], start[keep], end[keep], name[keep], strand[keep])

    def regions(self) -> list[Region]:
        """Return the same by rows."""
        return [Region(*row) for row in zip(*(column.tolist() for column in self), strict=True)]


def stranded(regions: list[Region]) -> list[Region]:
    """Return regions with the strand that is read of each: `+` where the file says none.

    The files of embeddings have always said so; those of predictions keep the file's `.`.
    """
    return [region._replace(strand="-" if region.strand == "-" else "+") for region in regions]


class Plan:
    """Which intervals are read, each from an empty state, and which rows of the result each makes.

    Windows and bins of a region on the minus strand are counted from its end.

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
        self._minus = np.array([region.strand == "-" for region in regions], dtype=bool)[self.region]
        self.start, self.end = _mirrored(self._minus, region_start, region_end, self.start, self.end)
        length = self.end - self.start
        if config.pooling == "none":
            rows = length
        else:
            rows = np.ones_like(length) if config.pool_every is None else -(-length // config.pool_every)
        self.first_row = np.concatenate(([0], np.cumsum(rows)))

    def where(self, context: int) -> str:
        """Write a context as a region: chr1:1-100."""
        record = self.regions[self.region[context]].record
        return Region(record, int(self.start[context]), int(self.end[context])).where

    def ids(self, inputs: Inputs, context: int) -> Ids:
        """Return the bases of a context, in the direction of its strand."""
        region = self.regions[self.region[context]]
        ids = inputs.ids(region.record, int(self.start[context]), int(self.end[context]))
        return inputs.alphabet.reverse_complement(ids) if region.strand == "-" else ids

    @property
    def rows(self) -> int:
        """Vectors in the result."""
        return int(self.first_row[-1])

    def table(self) -> Table:
        """Return the region of each row; with pooling "none" that of each context, whose rows are bases."""
        context = np.arange(len(self.region))
        start, end = self.start, self.end
        if self.config.pool_every is not None:
            rows = np.diff(self.first_row)
            context = np.repeat(context, rows)
            number = np.arange(self.rows) - np.repeat(self.first_row[:-1], rows)
            first, last = start[context], end[context]
            start = first + number * self.config.pool_every
            end = np.minimum(start + self.config.pool_every, last)
            start, end = _mirrored(self._minus[context], first, last, start, end)
        region = self.region[context]
        records = np.array([region.record for region in self.regions], dtype=object)
        names = np.array([region.name for region in self.regions], dtype=object)
        strands = np.array([region.strand for region in self.regions], dtype=object)
        return Table(records[region], start, end, names[region], strands[region])


def _mirrored(
    minus: NDArray[np.bool_],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return intervals within `first` to `last`, those of the minus strand counted from `last`."""
    return np.where(minus, first + last - end, start), np.where(minus, first + last - start, end)


def batches_of(
    todo: NDArray[np.int64], length: NDArray[np.int64], budget: int, batch_size: int | str, alike: bool
) -> Iterator[NDArray[np.int64]]:
    """Yield contexts of similar length together, at most `batch_size`, or as many as `budget` bases hold.

    Args:
        todo: int64 [n], contexts.
        length: int64 [contexts], bases of each.
        budget: bases of a batch.
        batch_size: "auto" for as many as the budget holds.
        alike: contexts of the same length alone: what is not causal would see the padding.
    """
    todo = todo[np.argsort(-length[todo], kind="stable")]
    first = 0
    while first < len(todo):
        size = batch_size if isinstance(batch_size, int) else max(1, budget // int(length[todo[first]]))
        batch = todo[first : first + size]
        if alike:
            batch = batch[length[batch] == length[batch[0]]]
        yield batch
        first += len(batch)


def check_missing(missing: str, pooling: str) -> None:
    """Refuse another word, and one that has no effect.

    Raises:
        UserError: naming it.
    """
    if missing not in MISSING:
        raise UserError(f"missing: must be one of {', '.join(MISSING)} (got {missing!r})")
    if missing != "nan" and pooling == "none":
        raise UserError(
            f"missing={missing}: a vector per base is never missing; leave it out of pooling=none"
        )


def rows_to_keep(
    values: NDArray[np.float32], table: Table, missing: str
) -> tuple[NDArray[np.bool_], str | None]:
    """Return which rows the result holds, and one line about those that have no known base.

    Args:
        values: [rows, D]; of a row without a known base NaN.
        table: where each row is from.
        missing: one of `MISSING`.

    Raises:
        UserError: there are such rows and `missing` is `error`, or there are no others and it is `drop`.
    """
    lost = np.isnan(values[:, 0])
    number = int(lost.sum())
    if not number:
        return ~lost, None
    chosen = np.flatnonzero(lost)[:_SHOWN]
    shown = ", ".join(region.where for region in table.rows(np.isin(np.arange(len(lost)), chosen)).regions())
    shown += f" and {number - len(chosen):,} more" if number > len(chosen) else ""
    said = f"{number:,} of {len(lost):,} regions have no known base, only N: {shown}"
    if missing == "error" or (missing == "drop" and number == len(lost)):
        raise UserError(f"{said}; set missing=nan to keep them as NaN")
    return np.full_like(lost, True) if missing == "nan" else ~lost, said


def check_batch_size(batch_size: object) -> None:
    """Raise a `UserError` for what is neither "auto" nor a number of at least 1."""
    if batch_size != "auto" and not (isinstance(batch_size, int) and batch_size >= 1):
        raise UserError(f"batch_size: must be auto or at least 1 (got {batch_size!r})")


def check_lengths(reader: Reader, plan: Plan) -> None:
    """Refuse a context that is longer than what the model can read at once.

    Raises:
        UserError: naming the region.
    """
    length = plan.end - plan.start
    longest = int(length.argmax())
    remedy = f"cut it with window={reader.longest} or less"
    reader.need_length(int(length[longest]), plan.where(longest), remedy)
