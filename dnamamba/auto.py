"""A setting that is a number, or `auto` where the program finds it."""

from typing import Any

from dnamamba.errors import UserError

AUTO = "auto"


def check_number_or_auto(key: str, value: Any, *, whole: bool, null: bool = False) -> None:
    """Check that a setting is a number, or `auto`: OmegaConf has no such union.

    Args:
        key: of the setting.
        value: of it.
        whole: whether the number has no decimals.
        null: whether there may be none.

    Raises:
        UserError: it is something else; the message names the key.
    """
    kinds = (int,) if whole else (int, float)
    if value == AUTO or (value is None and null) or (isinstance(value, kinds) and type(value) is not bool):
        return
    number = "a whole number" if whole else "a number"
    raise UserError(f"{key}: expected {number}{', null' if null else ''} or auto (got {value!r}); set one")
