"""A head that answers one question about a whole sequence: its class, its labels, a number."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError

from .backbone import MambaBackbone
from .config import MambaConfig
from .state import State

Kind = Literal["classification", "multilabel", "regression"]
Mode = Literal["last", "mean"]
Strand = Literal["forward", "both"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MODES: tuple[Mode, ...] = get_args(Mode)
STRANDS: tuple[Strand, ...] = get_args(Strand)


@dataclass(frozen=True)
class DecoderConfig:
    """What is asked of a sequence, and how its positions are pooled.

    Args:
        kind: `classification` (one of several classes), `multilabel` (any of several labels) or `regression`.
        labels: names of the classes or labels, in the order of the logits; of the number in a regression.
        mode: `last` reads the last real position, `mean` the mean of all real positions.
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
        if self.kind not in KINDS:
            raise UserError(f"decoder.kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.mode not in MODES:
            raise UserError(f"decoder.mode must be {' or '.join(MODES)}, not {self.mode!r}")
        if self.strand not in STRANDS:
            raise UserError(f"decoder.strand must be {' or '.join(STRANDS)}, not {self.strand!r}")
        least = 2 if self.kind == "classification" else 1
        if len(self.labels) < least or len(set(self.labels)) != len(self.labels):
            raise UserError(f"decoder.labels must be at least {least} and all different: {self.labels}")
        if self.scale <= 0:
            raise UserError(f"decoder.scale must be positive, not {self.scale}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and checkpoints."""
        return {**dataclasses.asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DecoderConfig":
        """The inverse of `to_dict`.

        Raises:
            UserError: a key is unknown or missing, or a value is out of range.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise UserError(f"decoder: {error}") from None


class SequenceModel(nn.Module):
    """A backbone, a pooling over its positions and a linear head.

    Args:
        config: the backbone's shape.
        decoder: what is asked.
        backend: scan and convolution backend, see `dnamamba.kernels`.
    """

    complement: Tensor

    def __init__(self, config: MambaConfig, decoder: DecoderConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.decoder = decoder
        self.backbone = MambaBackbone(config, backend)
        self.head = nn.Linear(config.d_model, len(decoder.labels))
        if decoder.strand == "both":
            complement = torch.from_numpy(get_alphabet(config.alphabet).complement.copy())
            self.register_buffer("complement", complement, persistent=False)

    def forward(
        self, tokens: Tensor, lengths: Tensor | None = None, *, padding: Literal["right", "left"] = "right"
    ) -> Tensor:
        """Logits [B, C], float32; of a regression its scaled outputs.

        Padding changes nothing: neither logits nor gradients depend on its side, amount or ids.

        Args:
            tokens: [B, L] of any integer dtype.
            lengths: int64 [B], real positions of each row, at least 1; None: all L.
            padding: the side the padding is on.
        """
        if lengths is not None and padding == "left":
            tokens = _to_the_left(tokens, lengths)
        logits = self._answer(tokens, lengths)
        if self.decoder.strand == "both" and not self.training:
            logits = (logits + self._answer(self._other_strand(tokens, lengths), lengths)) / 2
        return logits

    def read(self, pieces: Iterable[Tensor], other: Iterable[Tensor] | None = None) -> Tensor:
        """Logits [B, C] of sequences given piece by piece, [B, l] each: memory is that of one piece.

        Equals one call on the whole, up to rounding; without gradients.

        Args:
            pieces: of the sequences, from their beginning.
            other: of their reverse complements, likewise; read where the decoder's strand is `both`.

        Raises:
            UserError: the other strand is needed and not given.
        """
        logits = self._read(pieces)
        if self.decoder.strand == "both":
            if other is None:
                raise UserError(
                    "the model answers for both strands: read() needs the pieces of the other too"
                )
            logits = (logits + self._read(other)) / 2
        return logits

    def _answer(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        # With all padding on the right, causality alone keeps it away from every real position.
        hidden = self.backbone(tokens).hidden
        return self.head(self._pool(hidden, lengths)).float()

    def _other_strand(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """Reverse complements, padding still on the right."""
        complements = self.complement[tokens.long()].flip(1)
        if lengths is None:
            return complements
        return _to_the_left(complements, lengths)

    def _read(self, pieces: Iterable[Tensor]) -> Tensor:
        state: State | None = None
        last: Tensor | None = None
        total = torch.zeros((), dtype=torch.float64, device=self.head.weight.device)
        positions = 0
        with torch.no_grad():
            for tokens in pieces:
                hidden, state = self.backbone(tokens, state)
                last = hidden[:, -1]
                total = total + hidden.sum(1, dtype=torch.float64)
                positions += tokens.shape[1]
            assert last is not None, "no piece was given"
            pooled = last if self.decoder.mode == "last" else (total / positions).to(last.dtype)
            return self.head(pooled).float()

    def _pool(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        if self.decoder.mode == "last":
            if lengths is None:
                return hidden[:, -1]
            return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
        if lengths is None:
            return hidden.mean(1)
        real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        return (hidden * real[..., None]).sum(1) / lengths[:, None]


def _to_the_left(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Rows turned so that what was padded on their left is padded on their right."""
    width = tokens.shape[1]
    position = torch.arange(width, device=tokens.device) + (width - lengths)[:, None]
    return tokens.gather(1, position % width)
