"""Embeddings: hidden states of a model, pooled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Ids
from dnamamba.inference.contexts import (
    EmbeddingConfig,
    Part,
    Plan,
    Pooling,
    batches_of,
    check_batch_size,
    check_lengths,
    check_missing,
    rows_to_keep,
    stranded,
)
from dnamamba.inference.device import need_finite
from dnamamba.inference.head_vectors import read_by_head
from dnamamba.inference.inputs import Inputs, Region, Source, read_inputs
from dnamamba.inference.streaming import Reader, fetched
from dnamamba.models.pooling import Pooled, base_table, part, part_bins

Floats = NDArray[np.float32]
Int64s = NDArray[np.int64]


class Embeddings(NamedTuple):
    """Vectors and where they are from.

    Attributes:
        values: float32 [rows, D]; with pooling "none" a list of float32 [L, D], one a context.
        regions: one a row (a context): what was pooled.
    """

    values: Floats | list[Floats]
    regions: list[Region]


def _ignore(bases: int) -> None: ...


@overload
def embed(
    model: Model, source: Source, *, layer: int = ..., pooling: Literal["mean", "last", "next", "head"] = ...,
    strand: str = ..., context: str = ..., window: int | None = ..., stride: int | None = ...,
    pool_every: int | None = ..., batch_size: int | Literal["auto"] = ..., precision: str = ...,
    missing: str = ...,
    return_regions: Literal[False] = ...,
) -> Floats: ...  # fmt: skip


@overload
def embed(
    model: Model, source: Source, *, layer: int = ..., pooling: Literal["none"],
    strand: str = ..., context: str = ..., window: int | None = ..., stride: int | None = ...,
    pool_every: int | None = ..., batch_size: int | Literal["auto"] = ..., precision: str = ...,
    missing: str = ...,
    return_regions: Literal[False] = ...,
) -> list[Floats]: ...  # fmt: skip


@overload
def embed(
    model: Model, source: Source, *, layer: int = ..., pooling: Pooling = ...,
    strand: str = ..., context: str = ..., window: int | None = ..., stride: int | None = ...,
    pool_every: int | None = ..., batch_size: int | Literal["auto"] = ..., precision: str = ...,
    missing: str = ...,
    return_regions: Literal[True],
) -> Embeddings: ...  # fmt: skip


def embed(
    model: Model,
    source: Source,
    *,
    layer: int = -1,
    pooling: Pooling = "mean",
    strand: str = "forward",
    context: str = "forward",
    window: int | None = None,
    stride: int | None = None,
    pool_every: int | None = None,
    batch_size: int | Literal["auto"] = "auto",
    precision: str = "auto",
    missing: str = "nan",
    return_regions: bool = False,
) -> Floats | list[Floats] | Embeddings:
    """Return embeddings of sequences, of the records of a FASTA file, or of regions of it.

    Each sequence or region is one context, however long: what does not fit at once is streamed with the
    recurrent state carried, in constant memory. Pooling looks at known bases only, neither N nor padding;
    where there is none, the vector is NaN. Padding and the rest of a batch change nothing. A region whose
    strand is `-` is read as its reverse complement, and its windows, bins or bases come in that order.

    >>> from dnamamba import embed, load
    >>> from dnamamba.data.embedded import YEAST_MODEL
    >>> embed(load(YEAST_MODEL), ["ACGTACGT", "GGGTTTN"]).shape
    (2, 64)

    Args:
        model: pretrained or fine-tuned; it runs where its parameters lie.
        source: a list of sequences (letters, or ids as uint8), a FASTA file, or (FASTA file, BED file).
        layer: whose hidden states: 0 is the embedding, k the residual stream after block k, and the last
            (or -1) what the head reads, after the final norm. Negative numbers count from the end.
        pooling: `mean` over positions, the `last` position, or `none`: one vector per base. `next` is four
            vectors joined, as `decoder.mode=next` of a fine-tuning reads them. `head`: of a fine-tuned model
            exactly what its head reads, whatever its decoder's settings; they say strand and context too.
        strand: `forward`, or `both`: the average with a reading of the reverse complement, which is the same
            for a sequence and its reverse complement.
        context: `forward`, or `both`: joined with the hidden states of the reverse complement, base by base,
            as `decoder.context=both` of a fine-tuning: vectors are twice as wide.
        window: cut each region into windows of that many bases, each a context and a row of its own; the
            last one of a region may be shorter.
        stride: bases between the beginnings of two windows; `window` by default.
        pool_every: a row for every so many bases of one context, as for 1 kb bins of a chromosome.
        batch_size: sequences per batch; `auto` is what suits the device.
        precision: of the matrix products: `fp32`, `bf16`, or `auto`, which is bf16 on a GPU that has it.
        missing: what becomes of vectors without a known base: `nan` keeps them, `drop` leaves them out,
            `error` refuses.
        return_regions: return `Embeddings`, with where each row is from.

    Returns:
        float32 [rows, D] in the order of the source; with pooling `none` a list of float32 [L, D]. D is the
        model's width, times 2 with `context=both`, times 4 with `next`; with `head` the head's.

    Raises:
        UserError: a value is out of range, the source can't be read, a context is longer than what a family
            that is not recurrent can read, or what the model computes is not finite.
    """
    check_missing(missing, pooling)
    reader = Reader(model, precision=precision)
    config = EmbeddingConfig(layer, pooling, strand, window, stride, pool_every, context).of(model)
    inputs = read_inputs(source, reader.alphabet)
    plan = Plan(stranded(inputs.regions), config)
    values = np.empty((plan.rows, config.width(model)), dtype=np.float32)
    for made in read_embeddings(reader, inputs, plan, batch_size=batch_size):
        values[made.row : made.row + len(made.values)] = made.values
    table = plan.table()
    found: Floats | list[Floats] = values
    if pooling == "none":
        found = np.split(values, plan.first_row[1:-1])
    elif missing != "nan":
        keep, _ = rows_to_keep(values, table, missing)
        found, table = values[keep], table.rows(keep)
    return Embeddings(found, table.regions()) if return_regions else found


def read_embeddings(
    reader: Reader,
    inputs: Inputs,
    plan: Plan,
    *,
    batch_size: int | Literal["auto"] = "auto",
    done: Iterable[int] = (),
    advance: Callable[[int], None] = _ignore,
) -> Iterator[Part]:
    """Yield the rows of a plan, in the order in which it is quickest to make them.

    Args:
        reader: the model.
        inputs: where the bases are.
        plan: what to read.
        batch_size: contexts per batch, of those that are no longer than a piece of the reader.
        done: contexts to leave out.
        advance: is told of bases read, both strands together counting as one.

    Raises:
        UserError: as of `embed`.
    """
    check_lengths(reader, plan)
    check_batch_size(batch_size)
    reader.blocks(plan.config.layer)
    todo = np.setdiff1d(np.arange(len(plan.region)), np.fromiter(done, dtype=np.int64))
    inputs.load(plan.regions[region].record for region in np.unique(plan.region[todo]).tolist())
    length = plan.end - plan.start
    if plan.config.by_head:
        yield from read_by_head(reader, inputs, plan, todo, batch_size, advance)
        return
    # Bins of different rows do not line up in a batch.
    short = (length[todo] <= reader.piece) & (plan.config.pool_every is None)
    batches = batches_of(
        todo[short], length, reader.piece, batch_size, alike=not reader.model.backbone.causal
    )
    yield from _read_batches(reader, inputs, plan, batches, advance)
    for context in todo[~short].tolist():
        yield from _read_long(reader, inputs, plan, context, advance)


def _read_batches(
    reader: Reader, inputs: Inputs, plan: Plan, batches: Iterable[Int64s], advance: Callable[[int], None]
) -> Iterator[Part]:
    pooling = plan.config.pooling
    directions = plan.config.directions
    table = base_table(reader.alphabet.name).to(reader.device)

    def read(contexts: Int64s, reverse: bool) -> list[Tensor]:
        rows = [plan.ids(inputs, context) for context in contexts.tolist()]
        # Padding lies behind a causal model: on the right, whatever the direction of reading.
        tokens = np.full((len(rows), max(row.size for row in rows)), reader.alphabet.pad_id, dtype=np.uint8)
        for row, ids in zip(tokens, rows, strict=True):
            row[: ids.size] = reader.alphabet.reverse_complement(ids) if reverse else ids
        on_device = reader.to_device(tokens)
        lengths = torch.tensor([row.size for row in rows])
        hidden = reader.hidden_of_rows(on_device, lengths.to(reader.device), layer=plan.config.layer)
        if pooling == "none":
            return [hidden.float()]
        return [*part(pooling, hidden.float(), table[on_device.int()])]

    results = fetched(
        (contexts, tuple(t for r in directions for t in read(contexts, r))) for contexts in batches
    )
    for contexts, tensors in results:
        if pooling == "none":
            lengths = (plan.end - plan.start)[contexts].tolist()
            values = [
                _joined([h[i, :n][::step] for h, step in zip(tensors, (1, -1), strict=False)], plan.config)
                for i, n in enumerate(lengths)
            ]
        else:
            pooled = []
            for value, count in zip(tensors[::2], tensors[1::2], strict=True):
                rows = Pooled(pooling, len(contexts), value.shape[1])
                rows.add(torch.from_numpy(value), torch.from_numpy(count))
                pooled.append(_values(rows, [plan.where(context) for context in contexts.tolist()]))
            values = list(_joined(pooled, plan.config)[:, None])
        advance(int((plan.end - plan.start)[contexts].sum()))
        for context, value in zip(contexts.tolist(), values, strict=True):
            if pooling == "none":
                need_finite(value, plan.where(context))
            yield Part(context, int(plan.first_row[context]), value, True)


def _read_long(
    reader: Reader, inputs: Inputs, plan: Plan, context: int, advance: Callable[[int], None]
) -> Iterator[Part]:
    ids = plan.ids(inputs, context)
    row = int(plan.first_row[context])
    if plan.config.directions == (False,) and plan.config.pooling == "none":
        for start, end, hidden in _hidden(reader, ids, False, plan.config.layer):
            need_finite(hidden, plan.where(context))
            advance(end - start)
            yield Part(context, row + start, hidden, end == ids.size)
        return
    directions = plan.config.directions
    where = plan.where(context)
    values = []
    for reverse in directions:
        share = advance if reverse == directions[-1] else _ignore
        if plan.config.pooling == "none":
            values.append(_whole(reader, ids, reverse, plan.config, share))
            need_finite(values[-1], where)
        else:
            rows = _pooled(reader, ids, reverse, plan.config, share)
            values.append(_values(rows, [where] * len(rows.count)))
    yield Part(context, row, _joined(values, plan.config), True)


def _values(rows: Pooled, where: list[str]) -> Floats:
    """Return float32 [rows, D], NaN without a known base; `where` names each row, should it not be finite."""
    values: Floats = rows.values(nothing=math.nan).float().numpy()
    wrong = ~np.isfinite(values).all(1) & (rows.count.numpy() > 0)
    if wrong.any():
        first = int(wrong.argmax())
        need_finite(values[first], where[first])
    return values


def _hidden(reader: Reader, ids: Ids, reverse: bool, layer: int) -> Iterator[tuple[int, int, Floats]]:
    """Yield hidden states of intervals of ids, in the order of the forward strand within each."""
    stream = reader.stream(ids, reverse=reverse, layer=layer)
    for (start, end), (hidden,) in fetched(((p.start, p.end), (p.output[0].float(),)) for p in stream):
        yield start, end, hidden[::-1] if reverse else hidden


def _whole(
    reader: Reader, ids: Ids, reverse: bool, config: EmbeddingConfig, advance: Callable[[int], None]
) -> Floats:
    values = np.empty((ids.size, reader.config.width), dtype=np.float32)
    for start, end, hidden in _hidden(reader, ids, reverse, config.layer):
        values[start:end] = hidden
        advance(end - start)
    return values


def _pooled(
    reader: Reader, ids: Ids, reverse: bool, config: EmbeddingConfig, advance: Callable[[int], None]
) -> Pooled:
    mode, size = config.pooling, config.pool_every or ids.size
    table = base_table(reader.alphabet.name).to(reader.device)
    rows = Pooled(mode, -(-ids.size // size), reader.config.width)

    def pooled() -> Iterator[tuple[tuple[int, int], tuple[Tensor, Tensor]]]:
        for start, end, tokens, hidden in reader.stream(
            ids, reverse=reverse, layer=config.layer, align=config.pool_every
        ):
            bases = table[tokens.int()]
            if end <= (start // size + 1) * size:
                yield (start, end), part(mode, hidden.float(), bases)
            else:
                lead = -end % size if reverse else 0
                yield (start, end), part_bins(mode, hidden.float(), bases, size, lead)

    for (start, end), (value, count) in fetched(pooled()):
        if reverse:
            value, count = value[::-1].copy(), count[::-1].copy()
        rows.add(torch.from_numpy(value), torch.from_numpy(count), start // size)
        advance(end - start)
    return rows


def _joined(strands: list[Floats], config: EmbeddingConfig) -> Floats:
    """Make one vector of those of each direction, [rows, D] each, that lie in one order."""
    if len(strands) == 1:
        return strands[0]
    if config.strand == "both":
        strands = [(strands[0] + strands[1]) * np.float32(0.5)] * 2
    # The average knows no order: of both strands, both halves of a context of both sides are the average.
    return np.concatenate(strands, axis=1) if config.context == "both" else strands[0]
