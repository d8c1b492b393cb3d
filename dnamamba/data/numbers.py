"""Numbers as people and programs write them; Python's own `float` reads more, such as 1_2 as 12."""

from __future__ import annotations

import math
import operator
import re
from typing import Any

import numpy as np

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def number_of(text: str) -> float:
    """Return the finite number that a text is, spaces around it aside; NaN of any other text.

    >>> number_of("-1.5e3"), number_of("1_000")
    (-1500.0, nan)
    """
    value = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    return value if math.isfinite(value) else math.nan


def whole_number(position: Any) -> int:
    """Return a position that is a whole number, as tables may have it: 10, 10.0 or "10".

    Raises:
        TypeError, ValueError: it is anything else, such as 10.5, which `int` would cut, or "1_0".
    """
    if isinstance(position, str) and re.fullmatch("[0-9]{1,18}", position):
        return int(position)
    if isinstance(position, float | np.floating) and float(position).is_integer():
        return int(position)
    return operator.index(position)
