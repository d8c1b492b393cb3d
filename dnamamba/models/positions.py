"""A model that answers at every base, or for every bin of bases: what is here, not what this sequence is."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnamamba.data.signal import LARGEST_BIN
from dnamamba.errors import UserError
from dnamamba.heads.positions import PositionHead
from dnamamba.heads.registry import position_head
from dnamamba.models.base import ModelConfig, State, build_backbone
from dnamamba.models.chain import Chain
from dnamamba.models.plain import check_plain
from dnamamba.models.pooling import UNKNOWN, base_table, complement_ids
from dnamamba.models.readout import CONV_REACH, CONV_WIDTH, Convolutions, check_convolutions


@dataclass(frozen=True)
class PositionConfig:
    """What is asked of each base or bin.

    Args:
        kind: `base_classes` (one of several classes per base) or `signal` (numbers per bin).
        labels: names of the classes, or of the tracks.
        complement: the number of the class, or track, that each is when the other strand is read.
        window: bases of a training window.
        context: `both` joins, base by base, the hidden states of the sequence and of its reverse complement,
            so that at each base a causal backbone has read both sides.
        conv: dilated convolutions over the hidden states.
        chain: whether neighbouring answers are a chain with learnt transitions (`dnamamba.models.chain`).
        bin: bases that have an answer together, from a record's first base on; the last bin may be short.
        loss: of a signal, see `dnamamba.heads.signal`; of classes `cross_entropy`.
        scaling: of a signal: `none`, `log` or `sqrt`.
        means: of a signal, each track's mean over the training bins, scaled.
        count_weight: of the loss `multinomial`: what the total counts compared with the profile.

    Raises:
        UserError: a value is out of range; the message names it.
    """

    kind: str
    labels: tuple[str, ...]
    complement: tuple[int, ...]
    window: int
    context: str = "forward"
    conv: int = 0
    chain: bool = False
    bin: int = 1
    loss: str = "cross_entropy"
    scaling: str = "none"
    means: tuple[float, ...] = ()
    count_weight: float = 1.0

    def __post_init__(self) -> None:
        for key in ("labels", "complement", "means"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        if self.context not in ("forward", "both"):
            raise UserError(f"decoder.context: must be forward or both (got {self.context!r})")
        check_convolutions(self.conv)
        if not 1 <= self.bin <= LARGEST_BIN:
            raise UserError(f"data.bin_size: must lie between 1 and {LARGEST_BIN} bases (got {self.bin})")
        if self.window < 1 or self.window % self.bin:
            raise UserError(
                f"data.max_length: a window is not a whole number of bins of {self.bin} bases (got "
                f"{self.window}); set a multiple"
            )
        number = len(self.labels)
        if not number or sorted(self.complement) != list(range(number)) or len(set(self.labels)) != number:
            raise UserError(
                "decoder.labels: must be all different, with a complement each (got "
                f"{', '.join(self.labels)} and {list(self.complement)})"
            )
        if any(self.complement[other] != i for i, other in enumerate(self.complement)):
            raise UserError(
                "decoder.complement: must name each label's partner, whose own partner is that label (got "
                f"{list(self.complement)}); use another copy"
            )
        if not all(math.isfinite(mean) for mean in self.means) or not 0 < self.count_weight < math.inf:
            raise UserError(
                "decoder.means, decoder.count_weight: must be finite, the weight above 0 (got "
                f"{list(self.means)}, {self.count_weight})"
            )
        position_head(self.kind).check(self)

    @property
    def head(self) -> PositionHead:
        """What is done with the outputs."""
        return position_head(self.kind)(self)

    @property
    def reach(self) -> int:
        """Bases to either side of a base that the convolutions read."""
        return CONV_REACH // 2 * ((1 << self.conv) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and checkpoints."""
        values = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PositionConfig":
        """Return the inverse of `to_dict`.

        Raises:
            UserError: a key is unknown or missing, or a value is of another type or out of range.
        """
        return cls(**check_plain(cls, values, "decoder"))


class PositionOutput(NamedTuple):
    """What a model makes of sequences.

    Attributes:
        logits: [B, bins, C], float32, C outputs of the head.
        state: the recurrent state after the last base; None with `context=both` and of other families.
    """

    logits: Tensor
    state: State


class PositionModel(nn.Module):
    """A backbone, perhaps convolutions, a mean over each bin, and a linear head.

    Args:
        config: the backbone's shape.
        decoder: what is asked.
        backend: scan and convolution backend, see `dnamamba.kernels`.
    """

    complement: Tensor
    bases: Tensor

    def __init__(self, config: ModelConfig, decoder: PositionConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.decoder = decoder
        self.backbone = build_backbone(config, backend)
        self.backbone.set_head_aside()
        width = config.width * (2 if decoder.context == "both" else 1)
        self.convolutions = Convolutions(width, decoder.conv) if decoder.conv else None
        self.head = nn.Linear(CONV_WIDTH if decoder.conv else width, decoder.head.outputs)
        self.chain = Chain(len(decoder.labels)) if decoder.chain else None
        self.register_buffer("bases", base_table(config.alphabet), persistent=False)
        self.register_buffer("complement", complement_ids(config.alphabet), persistent=False)

    def forward(self, tokens: Tensor, state: State | None = None) -> PositionOutput:
        """Return the logits [B, bins, C] of whole windows [B, L], without padding.

        Args:
            tokens: [B, L] of any integer dtype; the last bin is short where bins don't divide L.
            state: of what was read before; not with `context=both` or convolutions.
        """
        hidden, after = self.backbone(tokens, state)
        known = self.known(tokens)
        other = None
        if self.decoder.context == "both":
            other = self.backbone(self.other_strand(tokens)).hidden.flip(1)
        x = self.project(hidden, known, 0)
        if other is not None:
            x = x + self.project(other, known, 1)
        return PositionOutput(self.answer(self.mix(x, known), known), after)

    def project(self, hidden: Tensor, known: Tensor, direction: int) -> Tensor:
        """Project the hidden states of one direction by the first linear layer: float32 [B, L, F].

        Args:
            hidden: [B, L, D], in the order of the forward strand.
            known: bool [B, L]; hidden states of what is not a known base are zeros.
            direction: 0, the forward strand, with the layer's bias; or 1, the other.
        """
        layer = self.head if self.convolutions is None else self.convolutions.projection
        size = self.config.width
        with torch.autocast(hidden.device.type, enabled=False):
            weight = layer.weight[:, direction * size : (direction + 1) * size]
            x = (hidden.to(weight.dtype) * known[..., None]) @ weight.T
            return x + layer.bias if direction == 0 else x

    def mix(self, x: Tensor, known: Tensor) -> Tensor:
        """Apply the convolutions, if any, to projected features [B, L, F]."""
        if self.convolutions is None:
            return x
        with torch.autocast(x.device.type, enabled=False):
            return self.convolutions.mix(x, known)

    def answer(self, x: Tensor, known: Tensor) -> Tensor:
        """Return logits [B, bins, C] of mixed features [B, L, F]: of a bin, the mean over its known bases."""
        with torch.autocast(x.device.type, enabled=False):
            size = self.decoder.bin
            if size > 1:
                short = -x.shape[1] % size
                x = nn.functional.pad(x * known[..., None], (0, 0, 0, short))
                number = nn.functional.pad(known, (0, short)).unflatten(1, (-1, size)).sum(2)
                x = x.unflatten(1, (-1, size)).sum(2) / number.clamp(min=1)[..., None]
            return x if self.convolutions is None else self.head(x)

    def decoded(self, logits: Tensor) -> Tensor:
        """Return logits of one record, [n, C]; with a chain, the logarithms of its posteriors."""
        return logits if self.chain is None else self.chain.log_posteriors(logits)

    def known(self, tokens: Tensor) -> Tensor:
        """Return which tokens are known bases, neither N nor padding: bool [B, L]."""
        return self.bases[tokens.int()] != UNKNOWN

    def other_strand(self, tokens: Tensor) -> Tensor:
        """Return the reverse complements of tokens [B, L]."""
        return self.complement[tokens.long()].flip(1)
