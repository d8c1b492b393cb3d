"""Records of any length answered base by base: read in pieces, the recurrent state carried over all of them.

Equal to one forward pass over the whole record, up to rounding, in the memory of a piece. Of `context=both`
the other strand is read first; what it adds to the first linear layer waits in a file, float32 [L, F].
"""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnamamba.models.positions import PositionModel
from dnamamba.models.reading import read_pieces

PIECE = 1 << 14


class Answered(NamedTuple):
    """Answers to some bins of a record.

    Attributes:
        start: the first base.
        logits: float32 [bins, C], on the model's device.
    """

    start: int
    logits: Tensor


@torch.no_grad()
def read_positions(
    model: PositionModel,
    tokens: Tensor,
    piece: int = PIECE,
    *,
    precision: AbstractContextManager[object] | None = None,
    folder: Path | None = None,
) -> Iterator[Answered]:
    """Yield the answers to all bins of a record, in order.

    A family that is not recurrent reads windows as long as those of its training, each half of one before,
    and answers with what is nearest their middles.

    Args:
        model: reads where its parameters are.
        tokens: uint8 [L], on any device.
        piece: bases at a time; a multiple of the bin is made of it.
        precision: the context of each forward pass.
        folder: takes the file of the other strand.
    """
    context = precision or nullcontext()
    if not model.backbone.recurrent:
        yield from _windows(model, tokens, context)
        return
    size = model.decoder.bin
    piece = max(size, piece // size * size)
    length = tokens.shape[0]
    with _Waiting(folder) as waiting:
        if model.decoder.context == "both":
            waiting.take(_other_strand(model, tokens, piece, context), length)
        joined = _joined(model, tokens, piece, context, waiting)
        if model.convolutions is None:
            for start, x, known in joined:
                yield Answered(start, model.answer(x, known)[0])
        else:
            yield from _mixed(model, joined, length, piece)


def _pieces(model: PositionModel, tokens: Tensor, cuts: list[tuple[int, int]]) -> Iterator[Tensor]:
    """Yield tokens [1, l] on the model's device."""
    for start, end in cuts:
        yield tokens[start:end].to(model.backbone.device)[None]


def _cuts(length: int, piece: int) -> list[tuple[int, int]]:
    return [(start, min(start + piece, length)) for start in range(0, length, piece)]


def _joined(
    model: PositionModel,
    tokens: Tensor,
    piece: int,
    context: AbstractContextManager[object],
    waiting: "_Waiting",
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the first base, features [1, l, F] and known bases [1, l] of each piece."""
    cuts = _cuts(tokens.shape[0], piece)
    read = read_pieces(model.backbone, _pieces(model, tokens, cuts), precision=context)
    for (start, end), (row, hidden, _) in zip(cuts, read, strict=True):
        known = model.known(row)
        x = model.project(hidden, known, 0)
        if waiting.values is not None:
            # A copy: the file is one's own, and torch has no tensors that are read-only.
            x = x + torch.from_numpy(waiting.values[start:end].copy()).to(x.device)
        yield start, x, known


def _other_strand(
    model: PositionModel, tokens: Tensor, piece: int, context: AbstractContextManager[object]
) -> Iterator[tuple[int, Tensor]]:
    """Yield the first base and the features [l, F] of each piece, from the record's end."""
    cuts = _cuts(tokens.shape[0], piece)[::-1]
    turned = (model.other_strand(part) for part in _pieces(model, tokens, cuts))
    read = read_pieces(model.backbone, turned, precision=context)
    for (start, end), (_, hidden, _) in zip(cuts, read, strict=True):
        known = model.known(tokens[start:end].to(hidden.device)[None])
        yield start, model.project(hidden.flip(1), known, 1)[0]


def _mixed(
    model: PositionModel, joined: Iterator[tuple[int, Tensor, Tensor]], length: int, piece: int
) -> Iterator[Answered]:
    """Yield pieces after convolutions, each when its right flank is there."""
    size = model.decoder.bin
    flank = -(-model.decoder.reach // size) * size
    x = known = torch.empty(0)
    begin = done = 0  # of what is held; of what is answered
    for start, new, there in joined:
        x, known = (new, there) if not x.numel() else (torch.cat([x, new], 1), torch.cat([known, there], 1))
        end = start + new.shape[1]
        until = length if end == length else max(done, (end - flank) // size * size)
        if until > done:
            mixed = model.mix(x, known)[:, done - begin : until - begin]
            yield Answered(done, model.answer(mixed, known[:, done - begin : until - begin])[0])
            done = until
            keep = max(begin, done - flank)
            x, known, begin = x[:, keep - begin :], known[:, keep - begin :], keep


def _windows(
    model: PositionModel, tokens: Tensor, context: AbstractContextManager[object]
) -> Iterator[Answered]:
    """Yield windows of the training's length, each half a window after the last."""
    length, window, size = tokens.shape[0], model.decoder.window, model.decoder.bin
    step = max(size, window // 2 // size * size)
    margin = (window - step) // 2 // size * size
    start = done = 0
    while done < length:
        end = min(start + window, length)
        row = tokens[max(0, end - window) // size * size : end] if end == length else tokens[start:end]
        first = end - row.shape[0]
        with context:
            logits = model(row.to(model.backbone.device)[None]).logits[0]
        until = length if end == length else start + margin + step
        yield Answered(done, logits[(done - first) // size : -(-(until - first) // size)])
        done, start = until, start + step


class _Waiting:
    """Features of a whole record in a file that goes when it is closed: float32 [L, F]."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self.values: np.memmap | None = None

    def __enter__(self) -> "_Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self.values = None
        if self._file is not None:
            self._file.close()

    def take(self, parts: Iterator[tuple[int, Tensor]], length: int) -> None:
        """Write features [l, F] at each first base."""
        file = self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        for start, x in parts:
            if self.values is None:
                self.values = np.memmap(file, np.float32, "w+", shape=(length, x.shape[1]))
            self.values[start : start + x.shape[0]] = x.float().cpu().numpy()
