"""The bounds of a family's sizes, for families whose tokens are bytes."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from dnamamba.errors import UserError
from dnamamba.models.mamba.config import LARGEST, MOST_BLOCKS
from dnamamba.models.mamba.config import check_epsilon as check_epsilon

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
