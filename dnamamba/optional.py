"""Packages that only some commands need."""

from importlib.util import find_spec

from dnamamba.errors import UserError


def need(package: str, extra: str, what: str) -> None:
    """Say what to install before any work is done.

    Args:
        package: the name it is imported by.
        extra: of dnamamba, that brings it.
        what: needs it.

    Raises:
        UserError: the package is not installed.
    """
    if find_spec(package) is None:
        raise UserError(f"{what} needs {package}, which is not installed: pip install 'dnamamba[{extra}]'")
