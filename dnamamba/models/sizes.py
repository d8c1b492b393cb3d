"""The bounds of a family's settings."""

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from dnamamba.errors import UserError

MOST_BLOCKS, LARGEST = 4096, 1 << 20  # a slip of the keyboard would be built for minutes
_NONE: Mapping[str, int] = MappingProxyType({})


def check_sizes(config: Any, names: Iterable[str], most: Mapping[str, int] = _NONE) -> None:
    """Check that settings are whole numbers in range, and that a token is a byte.

    Args:
        config: of a model; it has a `vocab_size`.
        names: of the settings.
        most: the largest value of each; of others that of `n_layer`, or of any size.

    Raises:
        UserError: naming the first setting that is out of range.
    """
    for name in names:
        value = getattr(config, name)
        limit = most.get(name, MOST_BLOCKS if name == "n_layer" else LARGEST)
        if type(value) is not int or not 1 <= value <= limit:
            raise UserError(f"model.{name}: must be a whole number from 1 to {limit:,} (got {value!r})")
    if config.vocab_size > 256:
        raise UserError(f"model.vocab_size: must be at most 256, a token is a byte (got {config.vocab_size})")


def check_epsilon(value: float) -> None:
    """Refuse an epsilon that outweighs what a norm divides by: every answer would be that of zeros.

    Raises:
        UserError: it is not positive, or above 1.
    """
    if not 0 < value < math.inf:
        raise UserError(f"model.norm_eps: must be positive and finite (got {value})")
    if value > 1:
        raise UserError(f"model.norm_eps: must be at most 1 (got {value})")
