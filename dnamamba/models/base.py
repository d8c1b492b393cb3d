"""The contract of a model family: a configuration that builds a backbone, and what a backbone offers.

A family is a folder of `dnamamba.models` (or any importable module) with a `ModelConfig` and the `Backbone`
that it builds. Commands ask a backbone what it can do (`causal`, `recurrent`) and never which class it is.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from dnamamba.errors import UserError, missing
from dnamamba.kernels.ranks import Ranks
from dnamamba.models.plain import check_plain

State = Any
"""The recurrent state after a prefix; only its own backbone looks inside."""


class BackboneOutput(NamedTuple):
    """What a backbone makes of a sequence.

    Attributes:
        hidden: [B, L, D], after the final norm; without it, where blocks were left out.
        state: the recurrent state after the last position, of the blocks that ran; None if there is none.
    """

    hidden: Tensor
    state: State


class Recurrence(Protocol):
    """A language model read one base at a time, in place, so that a CUDA graph can hold a step."""

    def load(self, state: State, rows: slice) -> None:
        """Give these rows a state of as many sequences, or of one for all of them."""

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits [B, V] of final hidden states [B, D]."""

    def step(self, tokens: Tensor) -> Tensor:
        """Read one token of each sequence, [B]; return the logits [B, V] of the next."""


@dataclass(frozen=True)
class StepCost:
    """What a training step takes of a device, per base; `planning/cost.py` has the arithmetic.

    Attributes:
        sweep: channels that a block sweeps along the sequence (E of a Mamba block).
        blocks: how many blocks.
    """

    sweep: int
    blocks: int


class ModelConfig:
    """A model in numbers: enough to build it again without the code of the run that trained it.

    A family's subclass is a frozen dataclass with at least the fields `alphabet` and `vocab_size`.

    Attributes:
        family: the name in config.json and conf/model; for a family outside the package its import path.
        alphabet: name of the alphabet that the tokens are written in.
        vocab_size: number of token ids.
        d_model, n_layer: width and blocks; a family with other names for them overrides `width` and `depth`.
    """

    family: ClassVar[str]
    alphabet: str
    vocab_size: int
    d_model: int
    n_layer: int

    def build(self, backend: str = "auto") -> "Backbone":
        """Build the backbone, its parameters drawn by torch's global generator."""
        raise missing(self, "build", "it returns the Backbone")

    @property
    def width(self) -> int:
        """Channels D of a hidden state."""
        return self.d_model

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.n_layer

    @property
    def padded_vocab_size(self) -> int:
        """Number of logits: `vocab_size` rounded up to a multiple of 8."""
        return -(-self.vocab_size // 8) * 8

    def step_cost(self) -> StepCost | None:
        """Return the cost of a training step, or None if the family was not measured."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and checkpoints; the family is written with them."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the inverse of `to_dict`.

        Raises:
            UserError: a key is unknown or missing, or a value is of another type or out of range; the message
                names it.
        """
        check_plain(cls, values, "model")
        return cls(**values)

    def differences(self, other: "ModelConfig") -> list[str]:
        """Return what differs from `other`, one `name: ours, theirs` per setting."""
        if self.family != other.family:
            return [f"family: {self.family}, {other.family}"]
        return [
            f"{field.name}: {ours}, {theirs}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if (ours := getattr(self, field.name)) != (theirs := getattr(other, field.name))
        ]


_RETURNS = {
    "forward": "it returns a BackboneOutput",
    "unembed": "it returns the logits of hidden states",
    "blocks": "it returns the blocks from the embedding upwards",
    "take": "it returns the state of some rows",
    "detach": "it returns the state, cut off from the graph",
}


class Backbone(nn.Module):
    """Tokens [B, L] to hidden states [B, L, D].

    A subclass sets `config`, has its token table in a module named `embedding`, and says what it can do.

    Attributes:
        causal: whether position i reads no position after i.
        recurrent: whether `forward` takes and returns a state, so that two calls equal one on the whole.
        equivariant: whether the reverse complement of the input gives the reverse of the output.
        masked: whether it is trained to tell the base under the alphabet's `mask_id` from both sides.
        divisible: whether `ranks` may be set.
        packable: whether `forward` also takes `cu_seqlens`, int32 [n + 1], the cumulative lengths of n
            sequences that stand one behind the other in tokens [1, L], or `starts`, uint8 [B, L], 1 where one
            begins (`dnamamba.kernels.packing`): each is read as if it were alone, without a state before it.
        capturable: whether a CUDA graph can hold `forward`, backward and `after`, and a state of zeros is the
            beginning of a sequence.
        max_length: the longest input, or None.
        adapters: names of the linear layers that LoRA may wrap.
        undecayed: last parts of parameters' names that weight decay must leave alone.
        activation_checkpointing: recompute each block in the backward pass instead of keeping what is inside.
        ranks: processes that each hold an equal, contiguous part of every sequence. `forward` then reads a
            part of [B, L / ranks]; its states are those of the whole sequence, the same on every rank.
    """

    causal: bool
    recurrent: ClassVar[bool]
    equivariant: bool = False
    masked: bool = False
    divisible: ClassVar[bool] = False
    capturable: ClassVar[bool] = False
    packable: ClassVar[bool] = False
    max_length: int | None = None
    adapters: ClassVar[tuple[str, ...]] = ()
    undecayed: ClassVar[tuple[str, ...]] = ()

    config: ModelConfig
    embedding: nn.Module
    activation_checkpointing: bool = False
    ranks: Ranks | None = None

    def forward(
        self, tokens: Tensor, state: State | None = None, *, blocks: int | None = None
    ) -> BackboneOutput:
        """Read tokens, [B, L] of any integer dtype, after `state`; with `blocks`, stop after that many.

        Args:
            tokens: [B, L].
            state: from an earlier call; None: before the first base. Refused unless `recurrent`.
            blocks: how many blocks to run; None: all, and the final norm.
        """
        raise missing(self, "forward", _RETURNS["forward"])

    def after(self, tokens: Tensor, state: State | None = None) -> State:
        """Return the state after these tokens, as `forward` returns it, without gradients.

        A family whose last blocks make something else than states can leave that out.

        Args:
            tokens: [B, L].
            state: from an earlier call; None: before the first base.
        """
        with torch.no_grad():
            return self(tokens, state).state

    def packs_on(self, device: torch.device) -> bool:
        """Return whether rows of different lengths are read packed on a device: where that is faster."""
        return self.packable

    def unembed(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of final hidden states [..., D]."""
        raise missing(self, "unembed", _RETURNS["unembed"])

    def set_head_aside(self) -> None:
        """Leave the output's own matrix, where the embedding is not used for it, out of training.

        For models that answer another question: nothing reads it there, and processes that share a training
        wait for the gradient of every parameter.
        """
        head = getattr(self, "head", None)
        if head is not None:
            head.requires_grad_(False)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the blocks from the embedding upwards: units of FSDP, layer decay and `layer=`."""
        raise missing(self, "blocks", _RETURNS["blocks"])

    def take(self, state: State, rows: Tensor) -> State:
        """Return the state of these rows, int64 [n], each as often as it is named."""
        raise missing(self, "take", _RETURNS["take"])

    def detach(self, state: State) -> State:
        """Return the same state, cut off from the graph."""
        raise missing(self, "detach", _RETURNS["detach"])

    def recurrence(self, rows: int, dtype: torch.dtype) -> Recurrence:
        """Return the step-by-step form for `rows` sequences; only of a causal and recurrent family."""
        raise missing(self, "recurrence", "it returns the step-by-step form, a Recurrence")

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return next(self.parameters()).dtype

    def depth_of(self, name: str) -> int:
        """Return a parameter's depth: 0 in the embedding, i + 1 in block i, above all blocks elsewhere.

        Args:
            name: of the parameter, from the backbone on.
        """
        if name.startswith("embedding."):
            return 0
        wanted, blocks = self.get_parameter(name), self.blocks()
        for i, block in enumerate(blocks, start=1):
            if any(parameter is wanted for parameter in block.parameters()):
                return i
        return len(blocks) + 1


# What every configuration must have, what every backbone must have of its own, and what one with a
# state must.
_SHAPE = {
    "family": "it is the import path of this class",
    "width": "it is the channels of a hidden state, the field d_model unless you write it",
    "depth": "it is the number of blocks, the field n_layer unless you write it",
}
_REQUIRED = {
    "config": "it is what the backbone was built from",
    "embedding": "it is the module with the token table",
    "causal": "it says whether a position reads none after it",
    "recurrent": "it says whether forward takes and returns a state",
}
_METHODS, _OF_A_STATE = ("forward", "unembed", "blocks"), ("take", "detach")


def build_backbone(config: ModelConfig, backend: str = "auto") -> Backbone:
    """Build a backbone, and check that its class is finished before anything is trained.

    Args:
        config: of the model.
        backend: see `dnamamba.kernels`.

    Raises:
        UserError: the configuration's class, or that of the backbone, lacks what the contract requires; the
            message names it.
    """
    backbone = config.build(backend)
    for name, what in _SHAPE.items():
        if not hasattr(config, name):
            raise missing(config, name, what)
    if not isinstance(backbone, Backbone):
        raise UserError(
            f"{config.family}: build must return a Backbone (got {type(backbone).__name__}); derive it from "
            "dnamamba.models.base.Backbone"
        )
    for name, what in _REQUIRED.items():
        if not hasattr(backbone, name):
            raise missing(backbone, name, what)
    for name in (*_METHODS, *(_OF_A_STATE if backbone.recurrent else ())):
        if getattr(type(backbone), name) is getattr(Backbone, name):
            raise missing(backbone, name, _RETURNS[name])
    return backbone


CAPABILITIES = ("causal", "recurrent", "equivariant", "masked", "divisible", "packable")


def need(backbone: Backbone, capabilities: Sequence[str], who: str) -> None:
    """Refuse a model that can't do what a command or an objective asks for.

    Args:
        backbone: of the model.
        capabilities: some of `CAPABILITIES`.
        who: asks, such as `generate` or `objective=next_base`.

    Raises:
        UserError: naming the family and what it lacks.
    """
    missing = [name for name in capabilities if not getattr(backbone, name)]
    if missing:
        raise UserError(
            f"{who} needs a model that is {' and '.join(missing)}, and the family "
            f"{backbone.config.family} is not"
        )


def need_reach(backbone: Backbone, length: int) -> None:
    """Refuse data whose sequences are longer than what a model can read.

    Args:
        backbone: of the model.
        length: of the longest, in bases.

    Raises:
        UserError: naming the family and both numbers.
    """
    if backbone.max_length is not None and length > backbone.max_length:
        raise UserError(
            f"data: the family {backbone.config.family} reads at most {backbone.max_length:,} bases "
            f"(got {length:,}); give shorter sequences"
        )
