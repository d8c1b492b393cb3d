"""Plain values of a file, checked against the dataclass that they are for."""

import dataclasses
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from dnamamba.errors import UserError

_PLAIN = (bool, int, float, str, NoneType)


def check_plain(schema: type, values: Any, what: str) -> dict[str, Any]:
    """Check that each value has its field's type, and return the values; only plain types are checked.

    >>> check_plain(dataclasses.make_dataclass("Point", [("x", float)]), {"x": 1}, "point")
    {'x': 1}

    Args:
        schema: a dataclass.
        values: from a file, such as JSON.
        what: they are settings of.

    Raises:
        UserError: naming the setting that is unknown, missing or of another type.
    """
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{what}: must be a group of settings (got {type(values).__name__})")
    fields = {field.name: field for field in dataclasses.fields(schema)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise UserError(f"unknown {what} setting {', '.join(unknown)}; known are {', '.join(fields)}")
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(values))
    if missing:
        raise UserError(f"{what} setting {', '.join(missing)} is missing")
    hints = get_type_hints(schema)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise UserError(f"{what}.{name}: must be {_shown(hints[name])} (got {value!r})")
    return values


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type; a whole number is a float too, a truth value is not a number."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) in (tuple, list):
        inside = get_args(hint)[0]
        return isinstance(value, tuple | list) and all(_fits(each, inside) for each in value)
    if hint not in _PLAIN:
        return True
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is not int or not isinstance(value, bool))


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_origin(hint) else str(hint)
