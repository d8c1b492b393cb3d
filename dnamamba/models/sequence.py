"""A head that answers one question about a whole sequence: its class, its labels, a number."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dnamamba.errors import UserError
from dnamamba.heads.base import Head
from dnamamba.heads.registry import head_class, head_of_file
from dnamamba.models.base import ModelConfig, build_backbone
from dnamamba.models.chunk_pooling import PoolingWeights
from dnamamba.models.packing import read_rows
from dnamamba.models.plain import check_plain
from dnamamba.models.pooling import MODES, PooledPieces, base_table, complement_ids, pool, within
from dnamamba.models.reading import read_pieces
from dnamamba.models.readout import Readout, check_convolutions, pooled_size

Strand = Literal["forward", "both"]
STRANDS: tuple[Strand, ...] = get_args(Strand)
LEARNT = ("attention", "positions")
# What a model's file has no word for where it is as ever: older versions read such a file.
_NEW = {"context": "forward", "conv": 0, "length": None, "tasks": None, "longest": None}


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
            letter, and the last one, count nowhere. Without a known base the head reads zeros. With weights
            that are learnt (`dnamamba.models.readout`): `attention`, means that learned queries take, and
            `positions`, some channels of every position side by side, for sequences of one length.
        shift, scale: of a regression, whose answer is shift + scale * output.
        strand: `both` answers, outside training, with the mean of the logits of a sequence and of its reverse
            complement, so that the answer is the same for the two.
        context: `both` joins, base by base, the hidden states of a sequence and of its reverse complement, so
            that at each base a causal backbone has read both sides.
        conv: dilated convolutions over the hidden states before they are pooled.
        length: of every sequence, in bases, where `mode` is `positions`.
        tasks: of `multitask`, each target's name, kind, number of logits, shift and scale.
        longest: bases of the longest training sequence; None: not known.

    Raises:
        UserError: a value is out of range; the message names it.
    """

    kind: str
    labels: tuple[str, ...]
    mode: str = "last"
    shift: float = 0.0
    scale: float = 1.0
    strand: str = "forward"
    context: str = "forward"
    conv: int = 0
    length: int | None = None
    tasks: list[dict[str, Any]] | None = None
    longest: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        found = head_class(self.kind)
        modes = (*MODES, *LEARNT)
        if self.mode not in modes:
            raise UserError(f"decoder.mode: must be one of {', '.join(modes)} (got {self.mode!r})")
        for key in ("strand", "context"):
            if getattr(self, key) not in STRANDS:
                raise UserError(f"decoder.{key}: must be {' or '.join(STRANDS)} (got {getattr(self, key)!r})")
        if self.mode == "last" and self.context == "both":
            raise UserError(
                "decoder.context=both with decoder.mode=last: where one strand ends the other has read one "
                f"base; choose decoder.mode of {', '.join(one for one in modes if one != 'last')}"
            )
        check_convolutions(self.conv)
        if self.mode == "positions" and (self.length is None or self.length < 1):
            raise UserError(f"decoder.mode=positions needs sequences of one length (got {self.length})")
        for key in ("length", "longest"):
            number = getattr(self, key)
            if number is not None and not 1 <= number < 1 << 63:
                raise UserError(f"decoder.{key}: must be a number of bases from 1 on (got {number})")
        if self.mode != "positions" and self.length is not None:
            raise UserError(f"decoder.length: is of decoder.mode=positions (got mode={self.mode}); remove it")
        if not 0 < self.scale < math.inf:
            raise UserError(f"decoder.scale: must be positive (got {self.scale})")
        if not math.isfinite(self.shift):
            raise UserError(f"decoder.shift: must be a finite number (got {self.shift})")
        found.check(self)

    @property
    def head(self) -> Head:
        """What is done with the logits."""
        return head_class(self.kind)(self)

    @property
    def learns(self) -> bool:
        """Whether there are weights between the hidden states and the head."""
        return self.conv > 0 or self.mode in LEARNT

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and checkpoints."""
        values = {**dataclasses.asdict(self), "labels": list(self.labels)}
        return {key: value for key, value in values.items() if key not in _NEW or value != _NEW[key]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DecoderConfig":
        """Return the inverse of `to_dict`.

        Raises:
            UserError: a key is unknown or missing, or a value is of another type or out of range.
        """
        check_plain(cls, values, "decoder")
        head_of_file(values["kind"])
        return cls(**values)


class SequenceModel(nn.Module):
    """A backbone, a pooling over its positions, perhaps one that is learnt, and a linear head.

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
        self.backbone = build_backbone(config, backend)
        self.backbone.set_head_aside()
        width = config.width * (2 if decoder.context == "both" else 1)
        self.readout: Readout | None = None
        size = pooled_size(decoder.mode, width)
        if decoder.learns:
            self.readout = Readout(decoder.mode, decoder.conv, width, decoder.length)
            size = self.readout.size
        self.head = nn.Linear(size, len(decoder.labels))
        self.register_buffer("bases", base_table(config.alphabet), persistent=False)
        if "both" in (decoder.strand, decoder.context):
            self.register_buffer("complement", complement_ids(config.alphabet), persistent=False)

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        *,
        padding: Literal["right", "left"] = "right",
        chunk: int | None = None,
    ) -> Tensor:
        """Return logits [B, C], float32 (float64 of a model in float64); of a regression scaled outputs.

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
        """Return what the head reads, [B, head.in_features]; with two strands their mean, if that is read.

        Args:
            tokens, lengths, padding: as in `forward`.
        """
        return torch.stack(self._pooled(tokens, lengths, padding)).mean(0)

    def weighted(
        self, tokens: Tensor, lengths: Tensor | None = None, *, padding: Literal["right", "left"] = "right"
    ) -> tuple[Tensor, PoolingWeights]:
        """Return rows padded on the right, up to the longest, and each position's weight in the pooling.

        Args:
            tokens, lengths, padding: as in `forward`.
        """
        if lengths is not None:
            if padding == "left":
                tokens = _to_the_left(tokens, lengths)
            tokens = tokens[:, : int(lengths.max())]
        dtype = torch.promote_types(self.backbone.dtype, torch.float32)
        return tokens, PoolingWeights(self.decoder.mode, self._bases(tokens), lengths, dtype)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return logits [B, C] of pooled hidden states [B, head.in_features] of one strand."""
        return self._mean_answer([pooled])

    def read(self, pieces: Iterable[Tensor], other: Iterable[Tensor] | None = None) -> Tensor:
        """Return logits [B, C] of sequences given piece by piece, [B, l] each: memory is that of one piece.

        Equals one call on the whole, up to rounding; without gradients. A pooling that is learnt and
        `context=both` need all hidden states at once: memory is then that of the sequence.

        Args:
            pieces: of the sequences, from their beginning.
            other: of their reverse complements, likewise; read where the decoder's strand is `both`.

        Raises:
            UserError: the other strand is needed and not given, or a family that is not recurrent gets a
                second piece.
        """
        with torch.no_grad():
            return self._mean_answer(self._pooled_pieces(pieces, other))

    def read_features(self, pieces: Iterable[Tensor], other: Iterable[Tensor] | None = None) -> Tensor:
        """Return `features` [B, head.in_features] of sequences given piece by piece; see `read`."""
        return torch.stack(self._pooled_pieces(pieces, other)).mean(0)

    @torch.no_grad()
    def _pooled_pieces(self, pieces: Iterable[Tensor], other: Iterable[Tensor] | None) -> list[Tensor]:
        """Return the pooled hidden states of each strand that the answer is of, given piece by piece."""
        if self.readout is not None or self.decoder.context == "both":
            return self._pooled_whole(list(pieces))
        pooled = [self._read(pieces)]
        if self.decoder.strand == "both":
            if other is None:
                raise UserError(
                    "the model answers for both strands: read() needs the pieces of the other too"
                )
            pooled.append(self._read(other))
        return pooled

    def _pooled(
        self,
        tokens: Tensor,
        lengths: Tensor | None,
        padding: Literal["right", "left"],
        chunk: int | None = None,
    ) -> list[Tensor]:
        """Return the pooled hidden states of each strand that the answer is of."""
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
        """Return the pooled hidden states of rows padded on the right: [B, head.in_features].

        What is not causal would read the padding: it gets rows of one length at a time, without any.
        """
        if lengths is None or self.backbone.causal:
            return self._vectors(self._hidden(tokens, lengths, self._states), tokens, lengths)
        groups = [(lengths == length).nonzero()[:, 0] for length in lengths.unique()]
        pooled = [self._pool(tokens[rows, : int(lengths[rows[0]])], None) for rows in groups]
        return torch.cat(pooled)[torch.cat(groups).argsort()]

    def _states(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """Return hidden states [B, L, D] of tokens [B, L], padded on the right."""
        return read_rows(self.backbone, tokens, lengths)

    def _hidden(
        self, tokens: Tensor, lengths: Tensor | None, states: Callable[[Tensor, Tensor | None], Tensor]
    ) -> Tensor:
        """Return the states to pool of rows padded on the right: [B, L, D], or [B, L, 2 * D] of both strands.

        Args:
            tokens, lengths: as in `forward`.
            states: the backbone's, however it is called.
        """
        if self.decoder.context == "forward":
            return states(tokens, lengths)
        strands = torch.cat([tokens, self._other_strand(tokens, lengths)])
        both = states(strands, None if lengths is None else lengths.repeat(2))
        one, other = both.split(len(tokens))
        # Turned again: next to the base that it is the complement of.
        other = other.flip(1)
        return torch.cat([one, other if lengths is None else _to_the_left(other, lengths)], 2)

    def _vectors(self, hidden: Tensor, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """Return what the head reads of hidden states [B, L, W]: [B, head.in_features].

        Raises:
            UserError: a sequence has another length than `decoder.length`.
        """
        if self.readout is None:
            return pool(self.decoder.mode, hidden, self._bases(tokens), lengths)
        if self.decoder.mode == "positions" and not self.training:
            # A training's data were checked before its first step.
            found = tokens.new_tensor([tokens.shape[1]], dtype=torch.int64) if lengths is None else lengths
            wrong = found[found != self.decoder.length].tolist()
            if wrong:
                raise UserError(
                    f"the model was fine-tuned with decoder.mode=positions on sequences of "
                    f"{self.decoder.length:,} bases (got {wrong[0]:,}); give sequences of that length"
                )
        return self.readout(hidden, self._bases(tokens), lengths)

    def _mean_answer(self, pooled: list[Tensor]) -> Tensor:
        """Return the mean of the strands' logits, in the precision of the weights.

        Windows may differ by less of their pooled vectors than a half precision of autocast can tell.
        """
        with torch.autocast(pooled[0].device.type, enabled=False):
            logits = torch.stack([self.head(one.to(self.head.weight.dtype)) for one in pooled])
        return (logits if logits.dtype == torch.float64 else logits.float()).mean(0)

    def _bases(self, tokens: Tensor) -> Tensor:
        """Return what `pool` needs to know of the tokens: uint8 [B, L]."""
        return self.bases[tokens.int()]

    def _other_strand(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """Reverse complements, padding still on the right."""
        complements = self.complement[tokens.long()].flip(1)
        if lengths is None:
            return complements
        return _to_the_left(complements, lengths)

    def _read(self, pieces: Iterable[Tensor], lengths: Tensor | None = None) -> Tensor:
        """Return the pooled hidden states of a strand given piece by piece, padded on the right."""
        pooling, done = PooledPieces(self.decoder.mode), 0
        for tokens, hidden, _ in read_pieces(self.backbone, pieces):
            pooling.add(hidden, within(self._bases(tokens), None if lengths is None else lengths - done))
            done += tokens.shape[1]
        return pooling.result()

    def _pooled_whole(self, pieces: list[Tensor]) -> list[Tensor]:
        """Return the same of sequences whose hidden states are all kept; one strand gives the other."""
        tokens, size = torch.cat(pieces, 1), max(piece.shape[1] for piece in pieces)

        def states(rows: Tensor, _: Tensor | None) -> Tensor:
            return torch.cat([found.hidden for found in read_pieces(self.backbone, rows.split(size, 1))], 1)

        strands = [tokens, *([self._other_strand(tokens, None)] if self.decoder.strand == "both" else [])]
        return [self._vectors(self._hidden(rows, None, states), rows, None) for rows in strands]


def _to_the_left(rows: Tensor, lengths: Tensor) -> Tensor:
    """Turn rows [B, L] or [B, L, D] so that padding on their left comes to be on their right."""
    width = rows.shape[1]
    position = (torch.arange(width, device=rows.device) + (width - lengths)[:, None]) % width
    if rows.dim() == 3:
        return rows.gather(1, position[..., None].expand_as(rows))
    return rows.gather(1, position)
