"""The shape of a Transformer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig
from dnamamba.models.sizes import check_epsilon, check_sizes

if TYPE_CHECKING:
    from dnamamba.models.transformer.backbone import TransformerBackbone

POSITIONS = ("rotary", "alibi", "absolute")


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """The shape of a Transformer++ (Gu and Dao 2023, appendix E.2.1, after Llama).

    Args:
        d_model: width D of the residual stream.
        n_layer: number of blocks, each of an attention and a feed-forward network: two Mamba blocks' worth.
        alphabet: name of the alphabet the tokens are written in.
        vocab_size: number of token ids; the embedding has `padded_vocab_size` rows.
        d_head: channels of a head; even, and a divisor of `d_model`.
        d_hidden: width of the feed-forward network; by default 8/3 d_model, rounded up to a multiple of 16.
        bidirectional: whether a position reads those after it too, for objective=masked.
        positions: how a position is told: `rotary` turns queries and keys, `alibi` lowers a score by the
            distance, `absolute` adds a trained vector to the embedding.
        max_length: of `absolute`: the longest sequence, which is the number of its vectors.
        rotary_base: of the angles by which `rotary` turns queries and keys.
        norm_eps: epsilon of every RMSNorm.

    Raises:
        UserError: a number is out of range or a name unknown; the message names it.
    """

    family: ClassVar[str] = "transformer"

    d_model: int
    n_layer: int
    alphabet: str = "dna"
    vocab_size: int = 8
    d_head: int = 32
    d_hidden: int | None = None
    bidirectional: bool = False
    positions: str = "rotary"
    max_length: int | None = None
    rotary_base: float = 10_000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        get_alphabet(self.alphabet)
        if self.d_hidden is None and type(self.d_model) is int:
            object.__setattr__(self, "d_hidden", -(-8 * self.d_model // 48) * 16)
        check_sizes(self, ("d_model", "n_layer", "vocab_size", "d_head", "d_hidden"))
        if self.d_head % 2 or self.d_model % self.d_head:
            raise UserError(
                f"model.d_head: must be even and divide model.d_model={self.d_model} (got {self.d_head})"
            )
        if self.positions not in POSITIONS:
            raise UserError(f"model.positions: must be one of {', '.join(POSITIONS)} (got {self.positions})")
        if (self.positions == "absolute") != (self.max_length is not None):
            raise UserError(
                "model.max_length: is of positions=absolute, which needs it (got "
                f"{'null' if self.max_length is None else self.max_length} with positions={self.positions}); "
                "set both or neither"
            )
        most = 1 << 24
        if self.max_length is not None and (
            type(self.max_length) is not int or not 1 <= self.max_length <= most
        ):
            raise UserError(
                f"model.max_length: must be a whole number from 1 to {most:,} (got {self.max_length!r})"
            )
        if not 0 < self.rotary_base < float("inf"):
            raise UserError(f"model.rotary_base: must be positive and finite (got {self.rotary_base})")
        check_epsilon(self.norm_eps)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; of rotary positions those of before there were others: hashes stay."""
        values = super().to_dict()
        for name, usual in (("positions", "rotary"), ("max_length", None)):
            if values[name] == usual:
                del values[name]
        return values

    def build(self, backend: str = "auto") -> "TransformerBackbone":
        """Build the backbone; attention is torch's, so that `backend` changes nothing."""
        from dnamamba.models.transformer.backbone import TransformerBackbone  # which needs this file

        return TransformerBackbone(self)
