"""What a model is, in numbers: enough to build it again without any code of the run that trained it."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from dnamamba.errors import UserError


@dataclass(frozen=True)
class MambaConfig:
    """The shape of a Mamba-1 model (Gu and Dao 2023, section 3.4 and appendix E).

    Args:
        d_model: width D of the residual stream.
        n_layer: number of Mamba blocks. The paper counts two of them as one Transformer block.
        alphabet: name of the alphabet the tokens are written in, `dna` or `bytes`.
        vocab_size: number of token ids; the embedding has `padded_vocab_size` rows.
        d_state: states N per inner channel.
        d_conv: width K of the causal convolution.
        expand: inner channels E = expand * d_model.
        dt_rank: rank R of the projection that makes dt; by default ceil(d_model / 16).
        dt_min, dt_max: dt is log-uniform in [dt_min, dt_max] at initialisation.
        dt_init_floor: the least dt at initialisation.
        norm_eps: epsilon of every RMSNorm.

    Raises:
        UserError: a number is out of range; the message names it.
    """

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
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.dt_rank is None:
            object.__setattr__(self, "dt_rank", math.ceil(self.d_model / 16) if _is_int(self.d_model) else 0)
        for name in ("d_model", "n_layer", "vocab_size", "d_state", "d_conv", "expand", "dt_rank"):
            value = getattr(self, name)
            if not _is_int(value) or value < 1:
                raise UserError(f"model.{name} must be a whole number of at least 1, not {value!r}")
        if self.vocab_size > 256:
            raise UserError(
                f"model.vocab_size must be at most 256 (a token is a byte), not {self.vocab_size}"
            )
        if not 0 < self.dt_init_floor <= self.dt_min <= self.dt_max:
            raise UserError(
                "model.dt_init_floor, dt_min and dt_max must be positive and in rising order, not "
                f"{self.dt_init_floor}, {self.dt_min}, {self.dt_max}"
            )
        if self.norm_eps <= 0:
            raise UserError(f"model.norm_eps must be positive, not {self.norm_eps}")

    @property
    def d_inner(self) -> int:
        """Inner channels E of a block."""
        return self.expand * self.d_model

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding: `vocab_size` rounded up to a multiple of 8."""
        return -(-self.vocab_size // 8) * 8

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and checkpoints."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MambaConfig":
        """The inverse of `to_dict`.

        Raises:
            UserError: a key is unknown or missing; the message names it.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise UserError(f"unknown model setting {', '.join(unknown)}; known are {', '.join(fields)}")
        required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
        missing = sorted(required - set(values))
        if missing:
            raise UserError(f"model setting {', '.join(missing)} is missing")
        return cls(**values)

    def differences(self, other: "MambaConfig") -> list[str]:
        """What differs from `other`, one `name: ours, theirs` a setting."""
        ours, theirs = self.to_dict(), other.to_dict()
        return [f"{name}: {ours[name]}, {theirs[name]}" for name in ours if ours[name] != theirs[name]]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
