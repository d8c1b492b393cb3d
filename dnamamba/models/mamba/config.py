"""The shape of a Mamba-1 model."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dnamamba.data.alphabet import TEXT
from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig, StepCost
from dnamamba.models.sizes import LARGEST, MOST_BLOCKS, check_epsilon

if TYPE_CHECKING:
    from dnamamba.models.mamba.backbone import MambaBackbone


@dataclass(frozen=True)
class MambaConfig(ModelConfig):
    """The shape of a Mamba-1 model (Gu and Dao 2023, section 3.4 and appendix E).

    Args:
        d_model: width D of the residual stream.
        n_layer: number of Mamba blocks, at most 4,096. The paper counts two of them as one Transformer block.
        alphabet: name of the alphabet the tokens are written in, see `dnamamba.get_alphabet`; `text` of a
            model of another tokenizer's tokens.
        vocab_size: number of token ids; the embedding has `padded_vocab_size` rows.
        d_state: states N per inner channel.
        d_conv: width K of the causal convolution.
        expand: inner channels E = expand * d_model.
        dt_rank: rank R of the projection that makes dt; by default ceil(d_model / 16).
        dt_min, dt_max: dt is log-uniform in [dt_min, dt_max] at initialisation.
        dt_init_floor: the least dt at initialisation.
        a_scale: at initialisation state n of a channel loses a share of a_scale * (n + 1) * dt at each step;
            far below 1, it keeps what was written.
        norm_eps: epsilon of every RMSNorm.
        vocab_multiple: the embedding's rows are `vocab_size` rounded up to a multiple of this; 8, but of some
            models of other packages.
        tied: whether the output uses the embedding; else it has a matrix of its own, as in some models of
            other packages.

    Raises:
        UserError: a number is out of range; the message names it.
    """

    family: ClassVar[str] = "mamba"

    d_model: int
    n_layer: int
    alphabet: str = "dna"
    vocab_size: int = 8
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int | None = None
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    dt_init_floor: float = 1e-4
    a_scale: float = 1.0
    norm_eps: float = 1e-5
    vocab_multiple: int = 8
    tied: bool = True

    def __post_init__(self) -> None:
        if self.dt_rank is None:
            object.__setattr__(self, "dt_rank", math.ceil(self.d_model / 16) if _is_int(self.d_model) else 0)
        for name in (
            "d_model",
            "n_layer",
            "vocab_size",
            "d_state",
            "d_conv",
            "expand",
            "dt_rank",
            "vocab_multiple",
        ):
            value = getattr(self, name)
            if not _is_int(value) or value < 1:
                raise UserError(f"model.{name}: must be a whole number of at least 1 (got {value!r})")
            most = MOST_BLOCKS if name == "n_layer" else LARGEST
            if value > most:
                raise UserError(f"model.{name}: must be at most {most:,} (got {value!r})")
        if self.vocab_size > 256 and self.alphabet != TEXT:
            raise UserError(
                f"model.vocab_size: must be at most 256, a token is a byte (got {self.vocab_size})"
            )
        if not 0 < self.dt_init_floor <= self.dt_min <= self.dt_max < math.inf:
            raise UserError(
                "model.dt_init_floor, dt_min, dt_max: must be positive, finite and in rising order (got "
                f"{self.dt_init_floor}, {self.dt_min}, {self.dt_max})"
            )
        if not 0 < self.a_scale < math.inf:
            raise UserError(f"model.a_scale: must be positive and finite (got {self.a_scale})")
        check_epsilon(self.norm_eps)

    @property
    def padded_vocab_size(self) -> int:
        """Number of logits."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; those that only other packages have are left out: hashes stay as they were."""
        values = super().to_dict()
        for name, usual in (("vocab_multiple", 8), ("tied", True)):
            if values[name] == usual:
                del values[name]
        return values

    @property
    def d_inner(self) -> int:
        """Inner channels E of a block."""
        return self.expand * self.d_model

    def build(self, backend: str = "auto") -> "MambaBackbone":
        """Build the backbone, its parameters drawn by the paper's rules."""
        from dnamamba.models.mamba.backbone import MambaBackbone  # which needs this file

        return MambaBackbone(self, backend)

    def step_cost(self) -> StepCost:
        """Return the cost of a training step, as measured in docs/kernels.md."""
        return StepCost(sweep=self.d_inner, blocks=self.n_layer)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
