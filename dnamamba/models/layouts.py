"""The contract of another package's model files: their configuration and names, and ours.

A family's `weights.py` has a `Layout` for each of them; `dnamamba.foreign` reads and writes the files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig
from dnamamba.models.finite import FLOATS


@dataclass(frozen=True)
class Names:
    """Which tensor of a file is which of ours.

    Attributes:
        ours: our names, each with the names that the tensor may have there: the first one is written; if
            there are several, they must be equal.
        constants: tensors that are not parameters, by their names there: their values must be these. They may
            be missing.
        repeated: whether a tensor of several names is written under each, as a state dict has it.
        ignored: part of the names of tensors that are no part of the model, such as a run's counters.
    """

    ours: dict[str, tuple[str, ...]]
    constants: dict[str, Tensor] = field(default_factory=dict)
    repeated: bool = False
    ignored: str | None = None


@dataclass(frozen=True)
class Layout:
    """Another package's model folder.

    Attributes:
        name: what `format=` calls it.
        weights_file: the name of the file that is written.
        recognises: whether a `config.json` is of this layout.
        config: our configuration from a `config.json` and the alphabet's name if it is known.
        names: the tensors of a model.
        document: the `config.json` of a model; None of a layout that is only read.
    """

    name: str
    weights_file: str
    recognises: Callable[[dict[str, Any]], bool]
    config: Callable[[dict[str, Any], str | None], ModelConfig]
    names: Callable[[ModelConfig], Names]
    document: Callable[[ModelConfig], dict[str, Any]] | None


def require(document: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse a `config.json` with a value that the family can't have; a key that is missing is right.

    Raises:
        UserError: naming the key.
    """
    for key, value in expected.items():
        found = document.get(key, value)
        if found != value:
            raise UserError(f"{key}: only {value!r} is supported (got {found!r}); give another model")


def number(document: dict[str, Any], key: str, default: Any = None) -> Any:
    """Return a value of a `config.json`.

    Args:
        document: the `config.json`.
        key: in it.
        default: where the key is missing; None: it must be there.

    Raises:
        UserError: it is missing, or of another type than the default.
    """
    found = document.get(key, default)
    if found is None:
        raise UserError(f"{key} is missing: the file is damaged or of another model")
    right = isinstance(found, int | float) and not isinstance(found, bool)
    if not right:
        raise UserError(f"{key}: expected a number (got {found!r}); give another model")
    return found


def ours_of(found: dict[str, Tensor], names: Names, source: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Rename tensors; half precision becomes float32, which changes no value.

    Args:
        found: by the names of the file.
        names: of the model that they should be.
        source: the file or folder, for the message.

    Returns:
        The tensors by our names, and what was mapped: the file's names and ours.

    Raises:
        UserError: listing every tensor that is missing, left over, or unlike another that it should equal;
            or naming one of numbers of 8 bits, which torch can't compare.
    """
    for name, value in found.items():
        if value.is_floating_point() and value.dtype not in FLOATS:
            raise UserError(
                f"{source}: {name}: expected numbers of 16, 32 or 64 bits (got {value.dtype}); give the "
                "weights as they were before they were quantised"
            )
    left = {name: value for name, value in found.items() if not (names.ignored and names.ignored in name)}
    weights: dict[str, Tensor] = {}
    mapped: dict[str, str] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for ours, theirs in names.ours.items():
        there = [name for name in theirs if name in left]
        if not there:
            missing.append(f"{theirs[0]} is missing")
            continue
        first = left[there[0]]
        for name in there:
            if not torch.equal(left.pop(name), first):
                wrong.append(f"{name} differs from {there[0]}, and the family ties them")
            mapped[name] = ours
        weights[ours] = first.float() if first.dtype in (torch.float16, torch.bfloat16) else first
    for name, value in names.constants.items():
        if name in left and not _same(left.pop(name), value):
            shown = value.tolist() if value.numel() <= 32 else "what config.json says"
            wrong.append(f"{name} is not {shown}")
    # Some of each kind: names of another class are missing and left over.
    kinds = [_some(each) for each in (wrong, missing, [f"{name} is left over" for name in left]) if each]
    if kinds:
        raise UserError(
            f"{source}: the weights do not go with config.json: {'; '.join(kinds)}; give the whole language "
            "model's folder, not a part of it or another class"
        )
    return weights, mapped


def _some(wrong: list[str], most: int = 10) -> str:
    """Join what is wrong; of many, the first in order and how many more."""
    more = f"; and {len(wrong) - most} more" if len(wrong) > most else ""
    return "; ".join(sorted(wrong)[:most]) + more


def _same(found: Tensor, value: Tensor) -> bool:
    """Return whether a constant is right: integers equal, fractions up to rounding."""
    if found.shape != value.shape or found.is_complex():
        return False
    found = found.to(value.dtype)
    return torch.allclose(found, value, atol=1e-6) if value.is_floating_point() else torch.equal(found, value)


def theirs_of(weights: dict[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Invert `ours_of`: return the tensors of a file; those that repeat others share memory."""
    made = {name: value.clone() for name, value in names.constants.items()}
    for ours, theirs in names.ours.items():
        for name in theirs if names.repeated else theirs[:1]:
            made[name] = weights[ours]
    return made


def alphabet_of(vocab_size: int, alphabet: str | None) -> str:
    """Return the alphabet of a model with so many ids: the known one, or the only one that it can be.

    Raises:
        UserError: the number says nothing.
    """
    if alphabet is not None:
        return alphabet
    if vocab_size > 256:
        return "text"
    known = {12: "characters", 16: "characters", 256: "bytes"}
    if vocab_size not in known:
        raise UserError(
            f"vocab_size: {vocab_size} ids may be any letters; say which in a file dnamamba.json in the "
            'folder, such as {"alphabet": "dna"}'
        )
    return known[vocab_size]
