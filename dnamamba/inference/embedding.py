"""Embeddings: hidden states of a model, pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Ids
from dnamamba.errors import UserError
from dnamamba.inference.contexts import EmbeddingConfig, Plan
from dnamamba.inference.inputs import Inputs, Region, Source, read_inputs
from dnamamba.inference.pooling import Pooled, Pooling, known_bases, pool, pool_bins
from dnamamba.inference.streaming import Reader, fetched

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
    values: Floats
    complete: bool


def _ignore(bases: int) -> None: ...


@overload
def embed(
    model: Model, source: Source, *, layer: int = ..., pooling: Literal["mean", "last"] = ...,
    strand: str = ..., window: int | None = ..., stride: int | None = ..., pool_every: int | None = ...,
    batch_size: int | Literal["auto"] = ..., precision: str = ..., return_regions: Literal[False] = ...,
) -> Floats: ...  # fmt: skip


@overload
def embed(
    model: Model, source: Source, *, layer: int = ..., pooling: Literal["none"],
    strand: str = ..., window: int | None = ..., stride: int | None = ..., pool_every: int | None = ...,
    batch_size: int | Literal["auto"] = ..., precision: str = ..., return_regions: Literal[False] = ...,
) -> list[Floats]: ...  # fmt: skip


@overload
def embed(
    model: Model, source: Source, *, layer: int = ..., pooling: Pooling = ...,
    strand: str = ..., window: int | None = ..., stride: int | None = ..., pool_every: int | None = ...,
    batch_size: int | Literal["auto"] = ..., precision: str = ..., return_regions: Literal[True],
) -> Embeddings: ...  # fmt: skip


def embed(
    model: Model,
    source: Source,
    *,
    layer: int = -1,
    pooling: Pooling = "mean",
    strand: str = "forward",
    window: int | None = None,
    stride: int | None = None,
    pool_every: int | None = None,
    batch_size: int | Literal["auto"] = "auto",
    precision: str = "auto",
    return_regions: bool = False,
) -> Floats | list[Floats] | Embeddings:
    """Embeddings of sequences, of the records of a FASTA file, or of regions of it.

    Each sequence or region is one context, however long: what does not fit at once is streamed with the
    recurrent state carried, in constant memory. Pooling looks at known bases only, neither N nor padding;
    where there is none, the vector is NaN. Padding and the rest of a batch change nothing.

    Args:
        model: pretrained or fine-tuned; it runs where its parameters lie.
        source: a list of sequences (letters, or ids as uint8), a FASTA file, or (FASTA file, BED file).
        layer: whose hidden states: 0 is the embedding, k the residual stream after block k, and the last
            (`n_layer` or -1) what the head reads, after the final norm. Negative numbers count from the end.
        pooling: `mean` over positions, the `last` position, or `none`: a vector a base.
        strand: `forward`, or `both`: the average with a reading of the reverse complement, which is the same
            for a sequence and its reverse complement.
        window: cut each region into windows of that many bases, each a context and a row of its own; the
            last one of a region may be shorter.
        stride: bases between the beginnings of two windows; `window` by default.
        pool_every: a row for every so many bases of one context, as for 1 kb bins of a chromosome.
        batch_size: sequences a batch; `auto` is what suits the device.
        precision: of the matrix products: `fp32`, `bf16`, or `auto`, which is bf16 on a GPU that has it.
        return_regions: return `Embeddings`, with where each row is from.

    Returns:
        float32 [rows, D] in the order of the source; with pooling `none` a list of float32 [L, D].

    Raises:
        UserError: a value is out of range, or the source can't be read.
    """
    config = EmbeddingConfig(layer, pooling, strand, window, stride, pool_every)
    reader = Reader(model, precision=precision)
    inputs = read_inputs(source, reader.alphabet)
    plan = Plan(inputs.regions, config)
    values = np.empty((plan.rows, reader.config.d_model), dtype=np.float32)
    for part in read_embeddings(reader, inputs, plan, batch_size=batch_size):
        values[part.row : part.row + len(part.values)] = part.values
    found = np.split(values, plan.first_row[1:-1]) if pooling == "none" else values
    return Embeddings(found, plan.table().regions()) if return_regions else found


def check_batch_size(batch_size: object) -> None:
    """Raise a `UserError` for what is neither "auto" nor a number of at least 1."""
    if batch_size != "auto" and not (isinstance(batch_size, int) and batch_size >= 1):
        raise UserError(f"batch_size must be auto or at least 1, not {batch_size!r}")


def read_embeddings(
    reader: Reader,
    inputs: Inputs,
    plan: Plan,
    *,
    batch_size: int | Literal["auto"] = "auto",
    done: Iterable[int] = (),
    advance: Callable[[int], None] = _ignore,
) -> Iterator[Part]:
    """The rows of a plan, in the order in which it is quickest to make them.

    Args:
        reader: the model.
        inputs: where the bases are.
        plan: what to read.
        batch_size: contexts a batch, of those that are no longer than a piece of the reader.
        done: contexts to leave out.
        advance: is told of bases read, both strands together counting as one.
    """
    check_batch_size(batch_size)
    reader.blocks(plan.config.layer)
    todo = np.setdiff1d(np.arange(len(plan.region)), np.fromiter(done, dtype=np.int64))
    length = plan.end - plan.start
    # Bins of different rows do not line up in a batch.
    short = (length[todo] <= reader.piece) & (plan.config.pool_every is None)
    batches = _batches(todo[short], length, reader.piece, batch_size)
    yield from _read_batches(reader, inputs, plan, batches, advance)
    for context in todo[~short].tolist():
        yield from _read_long(reader, inputs, plan, context, advance)


def _ids(inputs: Inputs, plan: Plan, context: int) -> Ids:
    record = plan.regions[plan.region[context]].record
    return inputs.ids(record, int(plan.start[context]), int(plan.end[context]))


def _batches(todo: Int64s, length: Int64s, budget: int, batch_size: int | str) -> Iterator[Int64s]:
    """Contexts of like length together, at most `batch_size` of them, or as many as `budget` bases hold."""
    todo = todo[np.argsort(-length[todo], kind="stable")]
    first = 0
    while first < len(todo):
        size = batch_size if isinstance(batch_size, int) else max(1, budget // int(length[todo[first]]))
        yield todo[first : first + size]
        first += size


def _read_batches(
    reader: Reader, inputs: Inputs, plan: Plan, batches: Iterable[Int64s], advance: Callable[[int], None]
) -> Iterator[Part]:
    pooling = plan.config.pooling
    directions = (False, True) if plan.config.strand == "both" else (False,)
    known = known_bases(reader.alphabet).to(reader.device)

    def read(contexts: Int64s, reverse: bool) -> list[Tensor]:
        rows = [_ids(inputs, plan, context) for context in contexts.tolist()]
        # Padding lies behind a causal model: on the right, whatever the direction of reading.
        tokens = np.full((len(rows), max(row.size for row in rows)), reader.alphabet.pad_id, dtype=np.uint8)
        for row, ids in zip(tokens, rows, strict=True):
            row[: ids.size] = reader.alphabet.reverse_complement(ids) if reverse else ids
        on_device = reader.to_device(tokens)
        hidden, _ = reader.hidden(on_device, layer=plan.config.layer)
        return (
            [hidden.float()]
            if pooling == "none"
            else [*pool(hidden.float(), known[on_device.int()], pooling)]
        )

    results = fetched(
        (contexts, tuple(t for r in directions for t in read(contexts, r))) for contexts in batches
    )
    for contexts, tensors in results:
        if pooling == "none":
            lengths = (plan.end - plan.start)[contexts].tolist()
            values = [
                _average([h[i, :n][::step] for h, step in zip(tensors, (1, -1), strict=False)])
                for i, n in enumerate(lengths)
            ]
        else:
            pooled = []
            for value, count in zip(tensors[::2], tensors[1::2], strict=True):
                rows = Pooled(len(contexts), value.shape[1], pooling)
                rows.add(0, value, count)
                pooled.append(rows.values())
            values = list(_average(pooled)[:, None])
        advance(int((plan.end - plan.start)[contexts].sum()))
        for context, value in zip(contexts.tolist(), values, strict=True):
            yield Part(context, int(plan.first_row[context]), value, True)


def _read_long(
    reader: Reader, inputs: Inputs, plan: Plan, context: int, advance: Callable[[int], None]
) -> Iterator[Part]:
    ids = _ids(inputs, plan, context)
    row = int(plan.first_row[context])
    if plan.config.strand == "forward" and plan.config.pooling == "none":
        for start, end, hidden in _hidden(reader, ids, False, plan.config.layer):
            advance(end - start)
            yield Part(context, row + start, hidden, end == ids.size)
        return
    directions = (False, True) if plan.config.strand == "both" else (False,)
    read = _whole if plan.config.pooling == "none" else _pooled
    values = []
    for reverse in directions:
        share = advance if reverse == directions[-1] else _ignore
        values.append(read(reader, ids, reverse, plan.config, share))
    yield Part(context, row, _average(values), True)


def _hidden(reader: Reader, ids: Ids, reverse: bool, layer: int) -> Iterator[tuple[int, int, Floats]]:
    """Hidden states of stretches of ids, in the order of the forward strand within each."""
    stream = reader.stream(ids, reverse=reverse, layer=layer)
    for (start, end), (hidden,) in fetched(((p.start, p.end), (p.output[0].float(),)) for p in stream):
        yield start, end, hidden[::-1] if reverse else hidden


def _whole(
    reader: Reader, ids: Ids, reverse: bool, config: EmbeddingConfig, advance: Callable[[int], None]
) -> Floats:
    values = np.empty((ids.size, reader.config.d_model), dtype=np.float32)
    for start, end, hidden in _hidden(reader, ids, reverse, config.layer):
        values[start:end] = hidden
        advance(end - start)
    return values


def _pooled(
    reader: Reader, ids: Ids, reverse: bool, config: EmbeddingConfig, advance: Callable[[int], None]
) -> Floats:
    size = config.pool_every or ids.size
    known = known_bases(reader.alphabet).to(reader.device)
    rows = Pooled(-(-ids.size // size), reader.config.d_model, config.pooling)

    def pooled() -> Iterator[tuple[tuple[int, int], tuple[Tensor, Tensor]]]:
        for start, end, tokens, hidden in reader.stream(
            ids, reverse=reverse, layer=config.layer, align=config.pool_every
        ):
            mask = known[tokens.int()]
            if end <= (start // size + 1) * size:
                yield (start, end), pool(hidden.float(), mask, config.pooling)
            else:
                lead = -end % size if reverse else 0
                yield (start, end), pool_bins(hidden.float(), mask, size, config.pooling, lead)

    for (start, end), (value, count) in fetched(pooled()):
        step = -1 if reverse else 1
        rows.add(start // size, value[::step], count[::step])
        advance(end - start)
    return rows.values()


def _average(strands: list[Floats]) -> Floats:
    return strands[0] if len(strands) == 1 else (strands[0] + strands[1]) * np.float32(0.5)
