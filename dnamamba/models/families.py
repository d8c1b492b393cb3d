"""Find the class of a family by its name: those of the package by a short name, a user's by import path.

A name from a file imports nothing that the user has not named: `plugins` first lists the modules to trust.
"""

from dataclasses import is_dataclass
from typing import Any

from dnamamba.errors import UserError
from dnamamba.models.base import ModelConfig
from dnamamba.plugins import imported, untrusted_module

FAMILIES = {
    "mamba": "dnamamba.models.mamba.config.MambaConfig",
    "caduceus": "dnamamba.models.caduceus.config.CaduceusConfig",
    "transformer": "dnamamba.models.transformer.config.TransformerConfig",
    "hyena": "dnamamba.models.hyena.config.HyenaConfig",
    "ablation": "dnamamba.models.ablation.config.AblationConfig",
}


def family_config(family: str, key: str = "model.family") -> type[ModelConfig]:
    """Return the configuration class of a family that the user has named.

    Raises:
        UserError: there is no such family, or its class is not a dataclass.
    """
    if "." not in family and family not in FAMILIES:
        raise UserError(
            f"{key}: unknown family {family!r}; expected one of {', '.join(FAMILIES)}, or the import path "
            "of a ModelConfig"
        )
    found: type[ModelConfig] = imported(FAMILIES.get(family, family), ModelConfig, key)
    if not is_dataclass(found):
        raise UserError(f"{key}: {family} is not a dataclass; write @dataclass(frozen=True) above it")
    return found


def family_of_file(family: Any, source: str) -> type[ModelConfig]:
    """Find the configuration class that a model's file names: the package's, or one already imported.

    Raises:
        UserError: the file names a module that was not imported; the message says how to trust it.
    """
    if not isinstance(family, str):
        raise UserError(f"{source}: the family must be a name (got {family!r})")
    module = untrusted_module(family, FAMILIES)
    if module or (family not in FAMILIES and "." not in family):
        hint = f"; if you trust {module}, add plugins=[{module}]" if module else ""
        raise UserError(f"{source}: unknown family {family!r}; dnamamba has {', '.join(FAMILIES)}{hint}")
    return family_config(family, source)
