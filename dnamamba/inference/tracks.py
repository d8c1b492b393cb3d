"""How well a model predicts each base: its log-likelihood, and the entropy of the prediction."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnamamba.data.alphabet import Ids
from dnamamba.errors import UserError
from dnamamba.inference.contexts import STRANDS
from dnamamba.inference.device import need_finite, need_language_model
from dnamamba.inference.inputs import Inputs, Region, Source, read_inputs
from dnamamba.inference.likelihood import Likelihood, likelihood
from dnamamba.inference.streaming import Reader
from dnamamba.models import LanguageModel
from dnamamba.models.pooling import UNKNOWN, base_table

QUANTITIES = ("log_likelihood", "entropy")
Floats = NDArray[np.float32]


class Track(NamedTuple):
    """One value per base, in bits; NaN where the base is N or nothing was read before it.

    Attributes:
        log_likelihood: log2 of the probability given to the base that is there, float32 [L]; minus its mean
            is the model's bits per base.
        entropy: of the prediction, float32 [L]: 0 where the model is sure, 2 where it can't tell.
    """

    log_likelihood: Floats
    entropy: Floats


def tracks(
    model: LanguageModel,
    source: Source,
    *,
    strand: str = "forward",
    context: int = 0,
    precision: str = "auto",
) -> list[Track]:
    """Compute tracks of sequences, a FASTA file's records or its regions; each is read as one context.

    >>> from dnamamba import load, tracks
    >>> from dnamamba.data.embedded import YEAST_MODEL
    >>> (track,) = tracks(load(YEAST_MODEL), ["ACGTACGT"])
    >>> track.entropy.shape, bool(track.entropy[1:].max() <= 2)
    ((8,), True)

    Args:
        model: runs where its parameters lie.
        source: as for `embed`.
        strand: `forward`: each base is predicted from what lies before it; in a region whose BED strand is
            `-`, by the reverse complement, from what lies behind it. `both`: the average with the
            prediction of its complement from what lies behind it, by the reverse complement; where there is
            only one of them, at the ends, that one.
        context: bases around a region that are read, and not reported; as many as the record has.
        precision: of the matrix products: `fp32`, `bf16`, or `auto`, which is bf16 on a GPU that has it.

    Raises:
        UserError: a value is out of range, the source can't be read, or the model is a fine-tuned one.
    """
    reader = Reader(need_language_model(model), precision=precision)
    inputs = read_inputs(source, reader.alphabet)
    result = []
    for region in inputs.regions:
        track = np.empty((2, region.length), dtype=np.float32)
        for start, values in read_track(reader, inputs, region, strand=strand, context=context):
            track[:, start - region.start : start - region.start + values.shape[1]] = values
        result.append(Track(*track))
    return result


def read_track(
    reader: Reader,
    inputs: Inputs,
    region: Region,
    *,
    strand: str = "forward",
    context: int = 0,
    folder: Path | None = None,
    advance: Callable[[int], None] = lambda bases: None,
) -> Iterator[tuple[int, Floats]]:
    """Yield the track of a region in pieces, from its start to its end, in constant memory.

    Args:
        reader: a language model.
        inputs: where the bases are.
        region: what to read.
        strand, context: as for `tracks`.
        folder: takes the reverse strand's values, 8 bytes per base, until the forward strand's are there.
        advance: is told of bases read, both strands together counting as one.

    Yields:
        The first base's place in the record, and float32 [2, n]: log-likelihood and entropy.

    Raises:
        UserError: a value is out of range, a family has no likelihood or can't read so long a region, or what
            it computes is not finite.
    """
    if strand not in STRANDS:
        raise UserError(f"strand: must be one of {', '.join(STRANDS)} (got {strand!r})")
    if context < 0:
        raise UserError(f"context: must be at least 0 (got {context})")
    found = likelihood(reader, "tracks")
    before = min(context, region.start)
    after = min(context, inputs.length(region.record) - region.end)
    for length in (before + region.length, region.length + after):
        reader.need_length(length, region.where, "give shorter regions in bed=")
    # A region of the minus strand is read from its end.
    forward = backward = None
    if strand == "both" or region.strand != "-":
        ids = inputs.ids(region.record, region.start - before, region.end)
        forward = _scores(found, ids, region, reverse=False)
    if strand == "both" or region.strand == "-":
        ids = inputs.ids(region.record, region.start, region.end + after)
        backward = _scores(found, ids, region, reverse=True)
    with ExitStack() as stack:
        spill: _Spill | None = None
        if backward is not None:
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            spill = _Spill(file.fileno(), region.length)
            for start, end, values in backward:
                spill.write(start, values[:, : max(min(end, region.length) - start, 0)])
                if forward is None:
                    advance(max(min(end, region.length) - start, 0))
        if forward is None:
            assert spill is not None
            for first in range(0, region.length, reader.piece):
                yield region.start + first, spill.read(first, min(reader.piece, region.length - first))
            return
        for start, end, values in forward:
            if end > before:
                values = values[:, max(before - start, 0) :]
                first = max(start - before, 0)
                advance(values.shape[1])
                if spill is not None:
                    values = _average(values, spill.read(first, values.shape[1]))
                yield region.start + first, values


class _Spill:
    """float32 [2, length] in a file."""

    def __init__(self, handle: int, length: int) -> None:
        self._handle = handle
        self._length = length

    def write(self, start: int, values: Floats) -> None:
        for row, numbers in enumerate(values):
            data = memoryview(numbers.tobytes())
            place = 4 * (row * self._length + start)
            while data:
                written = os.pwrite(self._handle, data, place)
                data, place = data[written:], place + written

    def read(self, start: int, number: int) -> Floats:
        rows = [os.pread(self._handle, 4 * number, 4 * (row * self._length + start)) for row in range(2)]
        return np.stack([np.frombuffer(row, dtype=np.float32) for row in rows])


def _average(forward: Floats, backward: Floats) -> Floats:
    mean = (forward + backward) * np.float32(0.5)
    return np.where(np.isnan(forward), backward, np.where(np.isnan(backward), forward, mean))


def _scores(
    found: Likelihood, ids: Ids, region: Region, *, reverse: bool
) -> Iterator[tuple[int, int, Floats]]:
    """Yield start, end and values [2, n] of intervals of ids, in the order of reading; within each, forward.

    Raises:
        UserError: a value is not finite where a known base was predicted.
    """
    known = base_table(found.reader.alphabet.name).numpy() != UNKNOWN
    first = ids.size - 1 if reverse else 0
    for start, end, values in found.bases(ids, reverse=reverse):
        predicted = known[ids[start:end]]
        if start <= first < end:
            predicted[first - start] = False
        need_finite(values[:, predicted], region.where)
        yield start, end, values
