"""Numbers as people and programs write them; Python's own `float` reads more, such as 1_2 as 12."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def number_of(text: str) -> float:
    """Return the finite number that a text is, spaces around it aside; NaN of any other text.

    >>> number_of("-1.5e3"), number_of("1_000")
    (-1500.0, nan)
    """
    value = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    return value if math.isfinite(value) else math.nan
