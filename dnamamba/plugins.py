"""Classes of the user's own, found by the import path that a configuration names."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from dnamamba.errors import UserError


def imported(path: str, kind: type, key: str) -> Any:
    """Return the class at an import path that the user has written, such as `my_package.models.GruConfig`.

    Args:
        path: module and name, joined by a dot.
        kind: what it must be a subclass of.
        key: names the setting in an error.

    Raises:
        UserError: there is no such class, or it is of another kind.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # a user's module may raise anything while it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{key}: cannot import {path!r} ({reason})") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise UserError(f"{key}: {path} is not a {kind.__name__}")
    return found


def untrusted_module(name: str, known: Mapping[str, str]) -> str:
    """Return the module that a name from a file would import and nobody has; "" where there is none.

    Args:
        name: one of `known`, or an import path.
        known: the package's own import paths by name.
    """
    module = name.rpartition(".")[0]
    return "" if name in known or module in sys.modules else module


def load_plugins(modules: list[str]) -> None:
    """Import modules with families, objectives, heads or data sets of the user's own.

    Raises:
        UserError: one can't be imported.
    """
    for module in modules:
        try:
            import_module(module)
        except Exception as error:  # a user's module may raise anything while it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"plugins: cannot import {module!r} ({reason})") from error
