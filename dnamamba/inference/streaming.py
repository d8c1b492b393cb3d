"""Reading DNA of any length with a model in constant memory: piece by piece, the recurrent state carried.

A chromosome is one context however long: what comes out of its pieces equals one forward pass over all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Ids, get_alphabet
from dnamamba.errors import UserError
from dnamamba.inference.device import precision_of
from dnamamba.models import LanguageModel, State

Key = TypeVar("Key")

# Bases read at once. More gains nothing: the GPU is full, and a CPU's caches have long overflowed.
_PIECE = {"cuda": 1 << 20, "cpu": 1 << 14}
# On a GPU, what a base costs while a block runs, in bytes a channel of the model, and how much of the free
# memory that may take.
_BYTES_A_CHANNEL, _SHARE = 64, 0.5


class Piece(NamedTuple):
    """A stretch of what is read.

    Attributes:
        start, end: its place on the forward strand, from the first base of what is read.
        tokens: uint8 [1, end - start], in the direction of reading, on the model's device.
        output: [1, end - start, ...], in the direction of reading.
    """

    start: int
    end: int
    tokens: Tensor
    output: Tensor


class Reader:
    """A model that reads, where its parameters lie and without gradients.

    Args:
        model: anything with a backbone; for logits a `LanguageModel`.
        precision: of the matrix products: `fp32`, `bf16`, or `auto`, which is bf16 on a GPU that has it.
        piece: bases read at once; by default what suits the device.

    Raises:
        UserError: an unknown precision.
    """

    def __init__(self, model: Model, *, precision: str = "auto", piece: int | None = None) -> None:
        self.model = model
        self.config = model.config
        self.alphabet = get_alphabet(model.config.alphabet)
        self.device = model.backbone.embedding.weight.device
        self._precision = precision_of(model, precision)
        self.precision = "bf16" if isinstance(self._precision, torch.autocast) else "fp32"
        self.piece = piece or self._piece()

    def _piece(self) -> int:
        if self.device.type != "cuda":
            return _PIECE["cpu"]
        free = torch.cuda.mem_get_info(self.device)[0]
        fits = int(_SHARE * free / (_BYTES_A_CHANNEL * self.config.d_model))
        return min(_PIECE["cuda"], max(1 << (fits.bit_length() - 1), 1 << 10))

    def blocks(self, layer: int) -> int:
        """How many blocks run for a layer: 0 is the embedding, `n_layer` or -1 what the head reads.

        Raises:
            UserError: there is no such layer.
        """
        depth = self.config.n_layer
        if not -depth - 1 <= layer <= depth:
            raise UserError(
                f"layer {layer}: the model has layers 0 (the embedding) to {depth}, or -1 to {-depth - 1}"
            )
        return layer % (depth + 1)

    @torch.no_grad()
    def hidden(self, tokens: Tensor, state: State | None = None, *, layer: int = -1) -> tuple[Tensor, State]:
        """Hidden states [B, L, D] of tokens [B, L] on the device, after `state`, and the state after them."""
        with self._precision:
            output = self.model.backbone(tokens, state, blocks=self.blocks(layer))
        return output.hidden, output.state

    @torch.no_grad()
    def logits(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [B, L, V] of tokens [B, L] on the device, after `state`, and the state after them.

        The head runs outside autocast: a logit in bfloat16 would cost a likelihood its third digit.
        """
        assert isinstance(self.model, LanguageModel)
        hidden, state = self.hidden(tokens, state)
        return self.model.head(hidden.to(self.model.backbone.embedding.weight.dtype)), state

    def to_device(self, ids: Ids) -> Tensor:
        """A copy of ids on the device; the host does not wait for it."""
        if self.device.type != "cuda":
            return torch.from_numpy(np.array(ids))
        pinned = torch.empty(ids.shape, dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[...] = ids
        return pinned.to(self.device, non_blocking=True)

    def stream(
        self,
        ids: Ids,
        *,
        reverse: bool = False,
        layer: int = -1,
        logits: bool = False,
        align: int | None = None,
        state: State | None = None,
    ) -> Iterator[Piece]:
        """Read ids [L] as one context, in constant memory.

        Args:
            ids: of the forward strand.
            reverse: read the reverse complement: the pieces come from the end.
            layer: whose hidden states to give.
            logits: give logits instead.
            align: pieces end at multiples of this many bases of the forward strand, or lie between two.
            state: what was read before.
        """
        for start, end in pieces(ids.size, self.piece, align, reverse):
            part = ids[start:end]
            tokens = self.to_device(self.alphabet.reverse_complement(part) if reverse else part)[None]
            if logits:
                output, state = self.logits(tokens, state)
            else:
                output, state = self.hidden(tokens, state, layer=layer)
            yield Piece(start, end, tokens, output)


def pieces(
    length: int, size: int, align: int | None = None, reverse: bool = False
) -> Iterator[tuple[int, int]]:
    """Cut `length` bases into pieces of at most `size`, in the order of reading.

    The same lengths come forward and in reverse where `align` divides `length`: reading the reverse
    complement in reverse is then the same arithmetic, bit for bit.
    """
    step = size if align is None else size // align * align
    if align is not None and step == 0:
        bins = [(start, min(start + align, length)) for start in range(0, length, align)]
        for start, end in reversed(bins) if reverse else bins:
            for first, last in pieces(end - start, size, None, reverse):
                yield start + first, start + last
        return
    place = 0
    short = -length % align if align and reverse else 0
    while place < length:
        end = min(place + step - (short if place == 0 else 0), length)
        yield (length - end, length - place) if reverse else (place, end)
        place = end


def fetched(
    results: Iterable[tuple[Key, tuple[Tensor, ...]]],
) -> Iterator[tuple[Key, tuple[NDArray[Any], ...]]]:
    """Results on the host, one behind the device: it computes the next while the caller has this one."""
    waiting: deque[tuple[Key, tuple[Tensor, ...], torch.cuda.Event | None]] = deque()
    for key, tensors in results:
        waiting.append((key, *_copied(tensors)))
        if len(waiting) > 1:
            yield _arrived(*waiting.popleft())
    while waiting:
        yield _arrived(*waiting.popleft())


def _copied(tensors: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], torch.cuda.Event | None]:
    if not tensors or tensors[0].device.type != "cuda":
        return tensors, None
    copies = tuple(torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors)
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return copies, event


def _arrived(
    key: Key, tensors: tuple[Tensor, ...], event: torch.cuda.Event | None
) -> tuple[Key, tuple[NDArray[Any], ...]]:
    if event is not None:
        event.synchronize()
    return key, tuple(tensor.numpy() for tensor in tensors)
