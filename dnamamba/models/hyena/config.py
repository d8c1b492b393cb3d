"""The shape of a HyenaDNA model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig
from dnamamba.models.sizes import check_epsilon, check_sizes

if TYPE_CHECKING:
    from dnamamba.models.hyena.backbone import HyenaBackbone

# The largest published model reads 2^20 bases, with 2 layers in its filter.
MOST = {"max_length": 1 << 24, "d_conv": 64, "filter_layers": 64}
_SIZES = ("d_model", "n_layer", "max_length", "vocab_size", "d_hidden", "d_filter", "filter_layers")


@dataclass(frozen=True)
class HyenaConfig(ModelConfig):
    """The shape of a HyenaDNA model of order 2 (Nguyen et al. 2023, arXiv 2306.15794).

    Args:
        d_model: width D of the residual stream.
        n_layer: number of blocks, each of a Hyena mixer and a feed-forward network: two Mamba blocks' worth.
        max_length: the longest sequence in bases: the filter's positions are fractions of it.
        alphabet: name of the alphabet the tokens are written in.
        vocab_size: number of token ids; the embedding has `padded_vocab_size` rows.
        d_hidden: width of the feed-forward network; by default 4 d_model.
        d_filter: width of the network that makes the filter.
        filter_layers: its hidden layers after the first.
        position_channels: what it reads of a position: time, and cosines and sines; odd, at least 3.
        d_conv: width of the short convolution.
        frequency: of its sines at initialisation.
        shift: least factor of the filter's exponential decay.
        norm_eps: epsilon of every LayerNorm.
        tied: whether the output uses the embedding; else it has a matrix of its own.
        vocab_multiple: the embedding's rows are `vocab_size` rounded up to a multiple of this.

    Raises:
        UserError: a number is out of range; the message names it.
    """

    family: ClassVar[str] = "hyena"

    d_model: int
    n_layer: int
    max_length: int
    alphabet: str = "dna"
    vocab_size: int = 8
    d_hidden: int | None = None
    d_filter: int = 64
    filter_layers: int = 2
    position_channels: int = 5
    d_conv: int = 3
    frequency: float = 10.0
    shift: float = 0.05
    norm_eps: float = 1e-5
    tied: bool = True
    vocab_multiple: int = 8

    def __post_init__(self) -> None:
        get_alphabet(self.alphabet)
        if self.d_hidden is None and type(self.d_model) is int:
            object.__setattr__(self, "d_hidden", 4 * self.d_model)
        check_sizes(self, (*_SIZES, "position_channels", "d_conv", "vocab_multiple"), MOST)
        if self.position_channels % 2 == 0 or self.position_channels < 3:
            raise UserError(
                f"model.position_channels: must be odd and at least 3 (got {self.position_channels})"
            )
        if not 0 < self.frequency < float("inf"):
            raise UserError(f"model.frequency: must be positive and finite (got {self.frequency})")
        check_epsilon(self.norm_eps)
        if not 0 <= self.shift < float("inf"):
            raise UserError(f"model.shift: must be finite and not negative (got {self.shift})")

    @property
    def padded_vocab_size(self) -> int:
        """Number of logits."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    def build(self, backend: str = "auto") -> "HyenaBackbone":
        """Build the backbone; `backend` is that of the short convolution."""
        from dnamamba.models.hyena.backbone import HyenaBackbone  # which needs this file

        return HyenaBackbone(self, backend)
