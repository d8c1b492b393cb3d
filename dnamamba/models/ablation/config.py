"""The shape of a model whose block, layer, selection and initialisation are chosen one by one."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.sizes import check_sizes

if TYPE_CHECKING:
    from dnamamba.models.ablation.backbone import AblationBackbone

BLOCKS = ("mamba", "h3", "plain")
LAYERS = ("s6", "s4_real", "s4_complex", "hyena")
SELECTIVE = ("dt", "B", "C")
A_INITS = ("ramp", "half", "normal")
# Which layers have a setting at all; for the others it must be null.
_OF = {
    "selective": ("s6",),
    "dt_rank": ("s6",),
    "a_init": ("s6", "s4_real"),
    "d_state": ("s6", "s4_real", "s4_complex"),
    "max_length": ("hyena",),
    "d_filter": ("hyena",),
}


@dataclass(frozen=True)
class AblationConfig(ModelConfig):
    """The shape of a model of the ablations (Gu and Dao 2023, tables 1 and 6 to 10).

    Args:
        d_model: width D of the residual stream.
        n_layer: number of blocks.
        alphabet: name of the alphabet the tokens are written in.
        vocab_size: number of token ids; the embedding has `padded_vocab_size` rows.
        block: `mamba`: convolution, SiLU, layer, gate by SiLU(z); `h3`: q * layer(convolution(k) * v), as in
            H3 and Hyena; `plain`: Mamba's without the gate.
        ssm: the layer: `s6` the selective scan; `s4_real`, `s4_complex` diagonal S4 without selection, a long
            convolution; `hyena` a long convolution whose filter a network makes.
        selective: of `s6`: which of dt, B and C depend on the input, the others being parameters; by default
            all three.
        a_init: of `s6` and `s4_real`: the diagonal of A at initialisation, `ramp` -(n + 1), which is the
            default, `half` -1/2 or `normal` -exp(normal). That of `s4_complex` is -1/2 + i pi n.
        d_state: of all but `hyena`: states N per inner channel, by default 16; of `s4_complex` N / 2
            conjugate pairs.
        dt_rank: of `s6`: rank R of the projection that makes dt; by default ceil(d_model / 16).
        max_length: of `hyena`: the longest sequence; the filter's positions are fractions of it.
        d_filter: of `hyena`: width of the network that makes the filter, by default 64.
        d_inner: inner channels E; by default 2 D, and 3/2 D of `h3`, whose projections are then as large as
            Mamba's.
        d_conv: width K of the causal convolution.

    Raises:
        UserError: a number is out of range, a name unknown, or a setting of another layer; the message names
            it.
    """

    family: ClassVar[str] = "ablation"

    d_model: int
    n_layer: int
    alphabet: str = "dna"
    vocab_size: int = 8
    block: str = "mamba"
    ssm: str = "s6"
    selective: list[str] | None = None
    a_init: str | None = None
    d_state: int | None = None
    dt_rank: int | None = None
    max_length: int | None = None
    d_filter: int | None = None
    d_inner: int | None = None
    d_conv: int = 4

    def __post_init__(self) -> None:
        get_alphabet(self.alphabet)
        for name, known in (("block", BLOCKS), ("ssm", LAYERS)):
            if getattr(self, name) not in known:
                raise UserError(
                    f"model.{name}: must be one of {', '.join(known)} (got {getattr(self, name)})"
                )
        for name, layers in _OF.items():
            if getattr(self, name) is not None and self.ssm not in layers:
                raise UserError(
                    f"model.{name}: ssm={self.ssm} has no such setting, which is of {', '.join(layers)} (got "
                    f"{getattr(self, name)}); leave it null"
                )
        self._fill_in()
        check_sizes(self, ("d_model", "n_layer", "vocab_size", "d_inner", "d_conv", *self._own_numbers()))
        if self.a_init not in (None, *A_INITS):
            raise UserError(f"model.a_init: must be one of {', '.join(A_INITS)} (got {self.a_init})")
        chosen = self.selective or []
        if type(chosen) is not list or not {*chosen} <= {*SELECTIVE} or len({*chosen}) < len(chosen):
            raise UserError(f"model.selective: must list some of {', '.join(SELECTIVE)} (got {chosen})")
        if self.ssm == "s4_complex" and self.states % 2:
            raise UserError(
                f"model.d_state: must be even for ssm=s4_complex, two to a pair (got {self.d_state})"
            )

    def _fill_in(self) -> None:
        """Give what is null its default, where the layer has it."""
        width = self.d_model if type(self.d_model) is int else 0
        usual = {
            "selective": list(SELECTIVE),
            "dt_rank": math.ceil(width / 16),
            "a_init": "ramp",
            "d_state": 16,
            "d_filter": 64,
            "d_inner": (3 * width + 1) // 2 if self.block == "h3" else 2 * width,
        }
        for name, value in usual.items():
            if getattr(self, name) is None and self.ssm in _OF.get(name, LAYERS):
                object.__setattr__(self, name, value)

    def _own_numbers(self) -> list[str]:
        numbers = ("d_state", "dt_rank", "max_length", "d_filter")
        return [name for name in numbers if self.ssm in _OF[name]]

    @property
    def inner(self) -> int:
        """Inner channels E."""
        assert self.d_inner is not None
        return self.d_inner

    @property
    def states(self) -> int:
        """States N per inner channel."""
        assert self.d_state is not None
        return self.d_state

    def filter_config(self) -> HyenaConfig:
        """Return what the network of a `hyena` layer is built from, E channels wide."""
        assert self.max_length is not None
        assert self.d_filter is not None
        return HyenaConfig(self.inner, 1, self.max_length, self.alphabet, d_filter=self.d_filter)

    def build(self, backend: str = "auto") -> "AblationBackbone":
        """Build the backbone; `backend` is that of scan and short convolution."""
        from dnamamba.models.ablation.backbone import AblationBackbone  # which needs this file

        return AblationBackbone(self, backend)
