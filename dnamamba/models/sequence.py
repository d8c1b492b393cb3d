"""A head that answers one question about a whole sequence: its class, its labels, a number."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError
from dnamamba.heads.base import Head
from dnamamba.heads.registry import head_class, head_of_file
from dnamamba.models.base import ModelConfig
from dnamamba.models.chunk_pooling import PoolingWeights
from dnamamba.models.plain import check_plain
from dnamamba.models.pooling import BASES, MODES, PooledPieces, base_table, pool, within
from dnamamba.models.reading import read_pieces

Strand = Literal["forward", "both"]
STRANDS: tuple[Strand, ...] = get_args(Strand)


@dataclass(frozen=True)
class DecoderConfig:
    """What is asked of a sequence, and how its positions are pooled.

    Args:
        kind: `classification` (one of several classes), `multilabel` (any of several labels), `regression`;
            or the import path of a `dnamamba.heads.base.Head`.
        labels: names of the classes or labels, in the order of the logits; of the number in a regression.
        mode: `last` reads the position of the last known base (neither N nor padding), `mean` the mean over
            all known bases, `next` for each of A, C, G, T the sum over the positions whose next base it is,
            divided by the number of known bases: four vectors side by side. A position before any other
            letter, and the last one, count nowhere. Without a known base the head reads zeros.
        shift, scale: of a regression, whose answer is shift + scale * output.
        strand: `both` answers, outside training, with the mean of the logits of a sequence and of its reverse
            complement, so that the answer is the same for the two.

    Raises:
        UserError: a value is out of range; the message names it.
    """

    kind: str
    labels: tuple[str, ...]
    mode: str = "last"
    shift: float = 0.0
    scale: float = 1.0
    strand: str = "forward"

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        found = head_class(self.kind)
        if self.mode not in MODES:
            raise UserError(f"decoder.mode must be one of {', '.join(MODES)}, not {self.mode!r}")
        if self.strand not in STRANDS:
            raise UserError(f"decoder.strand must be {' or '.join(STRANDS)}, not {self.strand!r}")
        if not 0 < self.scale < math.inf:
            raise UserError(f"decoder.scale must be positive, not {self.scale}")
        if not math.isfinite(self.shift):
            raise UserError(f"decoder.shift must be a finite number, not {self.shift}")
        found.check(self)

    @property
    def head(self) -> Head:
        """What is done with the logits."""
        return head_class(self.kind)(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and checkpoints."""
        return {**dataclasses.asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DecoderConfig":
        """The inverse of `to_dict`.

        Raises:
            UserError: a key is unknown or missing, or a value is of another type or out of range.
        """
        check_plain(cls, values, "decoder")
        head_of_file(values["kind"])
        return cls(**values)


class SequenceModel(nn.Module):
    """A backbone, a pooling over its positions and a linear head.

    Args:
        config: the backbone's shape.
        decoder: what is asked.
        backend: scan and convolution backend, see `dnamamba.kernels`.
    """

    complement: Tensor
    bases: Tensor

    def __init__(self, config: ModelConfig, decoder: DecoderConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.decoder = decoder
        self.backbone = config.build(backend)
        parts = BASES if decoder.mode == "next" else 1
        self.head = nn.Linear(parts * config.width, len(decoder.labels))
        self.register_buffer("bases", base_table(config.alphabet), persistent=False)
        if decoder.strand == "both":
            complement = torch.from_numpy(get_alphabet(config.alphabet).complement.copy())
            self.register_buffer("complement", complement, persistent=False)

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        *,
        padding: Literal["right", "left"] = "right",
        chunk: int | None = None,
    ) -> Tensor:
        """Logits [B, C], float32; of a regression its scaled outputs.

        Padding changes nothing: neither logits nor gradients depend on its side, amount or ids.

        Args:
            tokens: [B, L] of any integer dtype.
            lengths: int64 [B], real positions of each row, at least 1; None: all L.
            padding: the side the padding is on.
            chunk: read so many positions at a time, without gradients; needs a recurrent family.
        """
        return self._mean_answer(self._pooled(tokens, lengths, padding, chunk))

    def features(
        self, tokens: Tensor, lengths: Tensor | None = None, *, padding: Literal["right", "left"] = "right"
    ) -> Tensor:
        """What the head reads: [B, head.in_features]; of both strands, where logits are, the mean.

        Args:
            tokens, lengths, padding: as in `forward`.
        """
        return torch.stack(self._pooled(tokens, lengths, padding)).mean(0)

    def weighted(
        self, tokens: Tensor, lengths: Tensor | None = None, *, padding: Literal["right", "left"] = "right"
    ) -> tuple[Tensor, PoolingWeights]:
        """Rows padded on the right, as far as the longest goes, and what each position counts in the pooling.

        Args:
            tokens, lengths, padding: as in `forward`.
        """
        if lengths is not None:
            if padding == "left":
                tokens = _to_the_left(tokens, lengths)
            tokens = tokens[:, : int(lengths.max())]
        return tokens, PoolingWeights(self.decoder.mode, self._bases(tokens), lengths)

    def answer(self, pooled: Tensor) -> Tensor:
        """Logits [B, C] of pooled hidden states [B, head.in_features] of one strand."""
        return self._mean_answer([pooled])

    def read(self, pieces: Iterable[Tensor], other: Iterable[Tensor] | None = None) -> Tensor:
        """Logits [B, C] of sequences given piece by piece, [B, l] each: memory is that of one piece.

        Equals one call on the whole, up to rounding; without gradients.

        Args:
            pieces: of the sequences, from their beginning.
            other: of their reverse complements, likewise; read where the decoder's strand is `both`.

        Raises:
            UserError: the other strand is needed and not given, or a family that is not recurrent gets a
                second piece.
        """
        pooled = [self._read(pieces)]
        if self.decoder.strand == "both":
            if other is None:
                raise UserError(
                    "the model answers for both strands: read() needs the pieces of the other too"
                )
            pooled.append(self._read(other))
        with torch.no_grad():
            return self._mean_answer(pooled)

    def _pooled(
        self,
        tokens: Tensor,
        lengths: Tensor | None,
        padding: Literal["right", "left"],
        chunk: int | None = None,
    ) -> list[Tensor]:
        """The pooled hidden states of each strand that the answer is of."""
        # With all padding on the right, causality alone keeps it away from every real position.
        if lengths is not None and padding == "left":
            tokens = _to_the_left(tokens, lengths)
        strands = [tokens]
        if self.decoder.strand == "both" and not self.training:
            strands.append(self._other_strand(tokens, lengths))
        if chunk is not None:
            return [self._read(strand.split(chunk, 1), lengths) for strand in strands]
        return [self._pool(strand, lengths) for strand in strands]

    def _pool(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """The pooled hidden states of rows padded on the right: [B, head.in_features].

        What is not causal would read the padding: it gets rows of one length at a time, without any.
        """
        if lengths is None or self.backbone.causal:
            return pool(self.decoder.mode, self.backbone(tokens).hidden, self._bases(tokens), lengths)
        groups = [(lengths == length).nonzero()[:, 0] for length in lengths.unique()]
        pooled = [self._pool(tokens[rows, : int(lengths[rows[0]])], None) for rows in groups]
        return torch.cat(pooled)[torch.cat(groups).argsort()]

    def _mean_answer(self, pooled: list[Tensor]) -> Tensor:
        """The mean of the strands' logits, in the precision of the weights.

        Windows may differ by less of their pooled vectors than a half precision of autocast can tell.
        """
        with torch.autocast(pooled[0].device.type, enabled=False):
            logits = [self.head(one.to(self.head.weight.dtype)).float() for one in pooled]
        return torch.stack(logits).mean(0)

    def _bases(self, tokens: Tensor) -> Tensor:
        """What `pool` needs to know of the tokens: uint8 [B, L]."""
        return self.bases[tokens.int()]

    def _other_strand(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """Reverse complements, padding still on the right."""
        complements = self.complement[tokens.long()].flip(1)
        if lengths is None:
            return complements
        return _to_the_left(complements, lengths)

    def _read(self, pieces: Iterable[Tensor], lengths: Tensor | None = None) -> Tensor:
        """The pooled hidden states of a strand given piece by piece, padded on the right."""
        pooling, done = PooledPieces(self.decoder.mode), 0
        for tokens, hidden, _ in read_pieces(self.backbone, pieces):
            pooling.add(hidden, within(self._bases(tokens), None if lengths is None else lengths - done))
            done += tokens.shape[1]
        return pooling.result()


def _to_the_left(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Rows turned so that what was padded on their left is padded on their right."""
    width = tokens.shape[1]
    position = torch.arange(width, device=tokens.device) + (width - lengths)[:, None]
    return tokens.gather(1, position % width)
