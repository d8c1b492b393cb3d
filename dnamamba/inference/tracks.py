"""How well a model foresees each base: its log-likelihood, and the entropy of the prediction."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.alphabet import Ids
from dnamamba.errors import UserError
from dnamamba.inference.contexts import STRANDS
from dnamamba.inference.device import need_language_model
from dnamamba.inference.inputs import Inputs, Region, Source, read_inputs
from dnamamba.inference.pooling import known_bases
from dnamamba.inference.streaming import Reader, fetched
from dnamamba.models import LanguageModel

QUANTITIES = ("log_likelihood", "entropy")
Floats = NDArray[np.float32]


class Track(NamedTuple):
    """One value a base, in bits; NaN where the base is N or nothing was read before it.

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
    """Tracks of sequences, of the records of a FASTA file, or of regions of it; each is read as one context.

    Args:
        model: runs where its parameters lie.
        source: as for `embed`.
        strand: `forward`: each base is predicted from what lies before it. `both`: the average with the
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
    """The track of a region in pieces, from its start to its end, in constant memory.

    Args:
        reader: a language model.
        inputs: where the bases are.
        region: what to read.
        strand, context: as for `tracks`.
        folder: takes the reverse strand's values, 8 bytes a base, until the forward strand's are there.
        advance: is told of bases read on the forward strand.

    Yields:
        The first base's place in the record, and float32 [2, n]: log-likelihood and entropy.

    Raises:
        UserError: a value is out of range.
    """
    if strand not in STRANDS:
        raise UserError(f"strand must be one of {', '.join(STRANDS)}, not {strand!r}")
    if context < 0:
        raise UserError(f"context must be at least 0, not {context}")
    before = min(context, region.start)
    ids = inputs.ids(region.record, region.start - before, region.end)
    forward = _scores(reader, ids, reverse=False)
    if strand == "forward":
        for start, end, values in forward:
            if end > before:
                advance(end - max(start, before))
                yield region.start + max(start - before, 0), values[:, max(before - start, 0) :]
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        spill = _Spill(file.fileno(), region.length)
        after = min(context, inputs.length(region.record) - region.end)
        backward = inputs.ids(region.record, region.start, region.end + after)
        for start, end, values in _scores(reader, backward, reverse=True):
            spill.write(start, values[:, : max(min(end, region.length) - start, 0)])
        for start, end, values in forward:
            if end > before:
                values = values[:, max(before - start, 0) :]
                first = max(start - before, 0)
                advance(values.shape[1])
                yield region.start + first, _average(values, spill.read(first, values.shape[1]))


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


def _scores(reader: Reader, ids: Ids, *, reverse: bool) -> Iterator[tuple[int, int, Floats]]:
    """Start, end and values [2, n] of stretches of ids, in the order of reading; within each, forward."""
    known = known_bases(reader.alphabet).to(reader.device)

    def computed() -> Iterator[tuple[tuple[int, int], tuple[Tensor]]]:
        before: Tensor | None = None
        for start, end, tokens, logits in reader.stream(ids, reverse=reverse, logits=True):
            yield (start, end), (_bits(logits[0], before, tokens[0].int(), known),)
            before = logits[0, -1:]

    for (start, end), (values,) in fetched(computed()):
        yield start, end, values[:, ::-1] if reverse else values


@torch.no_grad()
def _bits(logits: Tensor, before: Tensor | None, tokens: Tensor, known: Tensor) -> Tensor:
    """[2, n] of tokens [n]: `logits` [n, V] come after each, `before` [1, V] ahead of the first."""
    first = torch.full_like(logits[:1], math.nan) if before is None else before
    predicted = torch.cat([first, logits[:-1]]).float().log_softmax(-1)
    likelihood = predicted.gather(1, tokens.long()[:, None])[:, 0]
    entropy = -(predicted.exp() * predicted).sum(1)
    return torch.stack([likelihood, entropy]).masked_fill(~known[tokens], math.nan) / math.log(2)
