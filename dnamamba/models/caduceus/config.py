"""The shape of a Caduceus model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dnamamba.data.alphabet import get_alphabet
from dnamamba.errors import UserError
from dnamamba.models.base import StepCost
from dnamamba.models.mamba.config import MambaConfig

if TYPE_CHECKING:
    from dnamamba.models.caduceus.backbone import CaduceusBackbone

STRATEGIES = ("add", "ew_multiply")


@dataclass(frozen=True)
class CaduceusConfig(MambaConfig):
    """The shape of a Caduceus model; what it shares with Mamba is explained at `MambaConfig`.

    Args:
        equivariant: Caduceus-PS, in which the reverse complement of a sequence has the reversed hidden
            states, twice as wide; without it Caduceus-Ph, which reads one strand.
        strategy: how a block joins its two directions: `add`, or `ew_multiply` for their product.
        exchange: each block of PS begins with an exchange of the strands. The published code does so where
            its `fused_add_norm` is set, as in the published models; it is equivariant too.

    Raises:
        UserError: a value is out of range; the message names it.
    """

    family: ClassVar[str] = "caduceus"

    equivariant: bool = True
    strategy: str = "add"
    exchange: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        get_alphabet(self.alphabet)
        if self.strategy not in STRATEGIES:
            raise UserError(
                f"model.strategy: must be one of {', '.join(STRATEGIES)} (got {self.strategy!r}); choose one"
            )
        if not self.tied:
            raise UserError("model.tied: a Caduceus model's output uses its embedding (got false); set true")
        if self.exchange and not self.equivariant:
            raise UserError("model.exchange: needs the two strands of model.equivariant=true (got false)")

    @property
    def width(self) -> int:
        """Channels of a hidden state: those of both strands."""
        return 2 * self.d_model if self.equivariant else self.d_model

    def build(self, backend: str = "auto") -> "CaduceusBackbone":  # type: ignore[override]
        """Build the backbone, its parameters drawn by Mamba's rules."""
        from dnamamba.models.caduceus.backbone import CaduceusBackbone  # which needs this file

        return CaduceusBackbone(self, backend)

    def step_cost(self) -> StepCost | None:  # type: ignore[override]
        """Return None: the family was not measured."""
        return None
