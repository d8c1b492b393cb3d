"""DNA of any length read with a model in constant memory: in pieces, the recurrent state carried.

A chromosome is one context however long: what comes out of its pieces equals one forward pass over all of it.
A family that is not recurrent reads only what fits into one piece.
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
from dnamamba.kernels.precision import without_autocast
from dnamamba.kernels.ranks import Ranks
from dnamamba.models import LanguageModel, State
from dnamamba.models.packing import read_rows
from dnamamba.models.reading import Read, read_pieces, spans

Key = TypeVar("Key")

# Bases read at once. More gains nothing: the GPU is full, and a CPU's caches have long overflowed.
_PIECE = {"cuda": 1 << 20, "cpu": 1 << 14}
# On a GPU, what a base costs while a block runs, in bytes per channel of the model, and how much of the free
# memory that may take.
_BYTES_A_CHANNEL, _SHARE = 64, 0.5


class Piece(NamedTuple):
    """An interval of what is read.

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
        piece: bases read at once; by default what suits the device, or all that a family that is not
            recurrent can read.
        ranks: processes that read every piece together, and all go through the same calls; then `piece` is
            what suits all their devices.

    Attributes:
        longest: the longest sequence that can be read; None: any.

    Raises:
        UserError: an unknown precision.
    """

    def __init__(
        self,
        model: Model,
        *,
        precision: str = "auto",
        piece: int | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.model = model
        self.ranks = ranks
        self.config = model.config
        self.alphabet = get_alphabet(model.config.alphabet)
        backbone = model.backbone
        self.device = backbone.device
        self._precision = precision_of(model, precision)
        self.precision = "bf16" if isinstance(self._precision, torch.autocast) else "fp32"
        limit = backbone.max_length
        self.piece = piece or (self._piece() if backbone.recurrent or limit is None else limit)
        if limit is not None:
            self.piece = min(self.piece, limit)
        self.longest = None if backbone.recurrent else self.piece

    def _piece(self) -> int:
        size = self.ranks.size if self.ranks else 1
        if self.device.type != "cuda":
            return _PIECE["cpu"] * size
        free = torch.cuda.mem_get_info(self.device)[0]
        fits = int(_SHARE * free / (_BYTES_A_CHANNEL * self.config.width))
        found = min(_PIECE["cuda"], max(1 << (fits.bit_length() - 1), 1 << 10))
        # All processes cut alike, however much of their memory is free.
        return size * (found if self.ranks is None else self.ranks.least(found))

    def need_length(self, length: int, name: str, remedy: str) -> None:
        """Refuse a sequence that is longer than what the model can read.

        Args:
            length: of the sequence.
            name: of the sequence.
            remedy: what to do.

        Raises:
            UserError: in one line.
        """
        if self.longest is not None and length > self.longest:
            raise UserError(
                f"{name}: the family {self.config.family} reads at most {self.longest:,} bases at once "
                f"(got {length:,}); {remedy}"
            )

    def blocks(self, layer: int) -> int:
        """Return how many blocks run for a layer: 0 is the embedding, the last (or -1) what the head reads.

        Raises:
            UserError: there is no such layer.
        """
        depth = self.config.depth
        if not -depth - 1 <= layer <= depth:
            raise UserError(
                f"layer {layer}: the model has layers 0 (the embedding) to {depth}, or -1 to {-depth - 1}"
            )
        return layer % (depth + 1)

    def read(
        self, pieces: Iterable[Tensor], state: State | None = None, *, layer: int = -1, logits: bool = False
    ) -> Iterator[Read]:
        """Read tokens [B, l] on the device, piece after piece, after `state`; see `read_pieces`.

        With `logits`, these are given in place of hidden states.
        """
        return read_pieces(
            self.model.backbone,
            pieces,
            state,
            blocks=self.blocks(layer),
            precision=self._precision,
            ranks=self.ranks,
            made=self.unembed if logits else lambda hidden: hidden,
        )

    def hidden(self, tokens: Tensor, state: State | None = None, *, layer: int = -1) -> tuple[Tensor, State]:
        """Return hidden states [B, L, D] of tokens [B, L], read after `state`, and the new state.

        Args:
            tokens: [B, L] on the device.
            state: before the first token; None: zeros.
            layer: 0 the embedding, k after block k, -1 the final output.
        """
        ((_, hidden, after),) = self.read([tokens], state, layer=layer)
        return hidden, after

    @torch.no_grad()
    def hidden_of_rows(self, tokens: Tensor, lengths: Tensor, *, layer: int = -1) -> Tensor:
        """Return hidden states [B, L, D] of rows padded on the right, packed where that saves reading.

        Args:
            tokens: [B, L] on the device.
            lengths: int64 [B], real positions of each row.
            layer: as in `hidden`.
        """
        if self.ranks is not None:
            return self.hidden(tokens, layer=layer)[0]
        with self._precision:
            return read_rows(self.model.backbone, tokens, lengths, blocks=self.blocks(layer))

    @torch.no_grad()
    def unembed(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D], in the dtype of the parameters.

        The head runs outside autocast: a logit in bfloat16 would cost a likelihood its third digit.
        """
        assert isinstance(self.model, LanguageModel)
        with without_autocast(self.device):
            return self.model.head(hidden.to(self.model.backbone.dtype))

    def to_device(self, ids: NDArray[Any]) -> Tensor:
        """Return a copy of ids, or of other numbers, on the device; the host does not wait for it."""
        copied = torch.from_numpy(np.array(ids))
        if self.device.type != "cuda":
            return copied
        pinned = torch.empty(copied.shape, dtype=copied.dtype, pin_memory=True)
        pinned.copy_(copied)
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

        Raises:
            UserError: the sequence is longer than what the model can read.
        """
        self.need_length(ids.size, "a sequence", "give shorter sequences")
        cuts = self._cuts(ids.size, reverse, align)
        read = self.read(self.tokens(ids, reverse=reverse, align=align), state, layer=layer, logits=logits)
        for (start, end), (tokens, output, _) in zip(cuts, read, strict=True):
            yield Piece(start, end, tokens, output)

    def tokens(self, ids: Ids, *, reverse: bool = False, align: int | None = None) -> Iterator[Tensor]:
        """Yield ids [L] as pieces [1, l] on the device, in reading order; arguments as in `stream`."""
        for start, end in self._cuts(ids.size, reverse, align):
            part = ids[start:end]
            yield self.to_device(self.alphabet.reverse_complement(part) if reverse else part)[None]

    def _cuts(self, length: int, reverse: bool, align: int | None) -> Iterator[tuple[int, int]]:
        whole = self.longest is not None
        return spans(length, length if whole else self.piece, None if whole else align, reverse)


def fetched(
    results: Iterable[tuple[Key, tuple[Tensor, ...]]],
) -> Iterator[tuple[Key, tuple[NDArray[Any], ...]]]:
    """Yield results on the host while the device computes the next one."""
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
