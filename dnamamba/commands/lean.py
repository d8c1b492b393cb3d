"""The start of commands that train: Lightning without what it loads for nobody.

Lightning imports torchmetrics, and torchmetrics (1.9) imports two large packages where they are installed:
transformers for its metrics of texts, and scipy.signal to give it back an old name, `hamming`. That is 2 of 5
CPU seconds of a start, and hundreds of files on a cold disk. torchmetrics asks `lightning_utilities` what is
installed: while it is imported, these two are not.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from typing import Any

UNUSED = ("scipy", "transformers")
_OURS = ("dnamamba.", "lightning.")
_PATHS = ("_target_", "family", "kind", "name")  # keys that take an import path


def load_torchmetrics(settings: Any) -> None:
    """Import torchmetrics without `UNUSED`, unless settings (plain maps and lists) name the user's own code.

    Such code may use torchmetrics' metrics of texts, which would be missing.
    """
    if "torchmetrics" in sys.modules or _own_code(settings):
        return
    with _hidden(UNUSED):
        import_module("torchmetrics")


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Have `lightning_utilities` answer that packages are not installed, if it has the two functions."""
    known: Any = import_module("lightning_utilities.core.imports")
    before = {name: getattr(known, name, None) for name in ("package_available", "_version")}
    available, version = before.values()
    if available is None or version is None:
        yield
        return

    def version_of(name: str) -> str:
        if name in names:
            raise PackageNotFoundError(name)
        return str(version(name))

    known.package_available = lambda name: name not in names and available(name)
    known._version = version_of
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(known, name, function)


def _own_code(value: Any) -> bool:
    """Return whether a configuration has plugins, or a class that is not of dnamamba or Lightning."""
    if isinstance(value, dict):
        paths = [str(value[key]) for key in _PATHS if key in value]
        own = any("." in path and not path.startswith(_OURS) for path in paths)
        return own or bool(value.get("plugins")) or any(map(_own_code, value.values()))
    return isinstance(value, list) and any(map(_own_code, value))
