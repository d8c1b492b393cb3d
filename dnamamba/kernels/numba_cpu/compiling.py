"""Compilation of the CPU kernels: once a machine, kept in the user's cache, said in one line."""

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba

_SETTINGS: Any = numba.config  # filled when Numba is imported, so that no type checker knows its names
_KERNELS = Path(__file__).parents[1]


@cache
def _folder() -> Path:
    """Return the folder of compiled kernels, for these sources, in NUMBA_CACHE_DIR or the user's cache.

    Numba itself looks at the one file that a function is in, not at what it is inlined from.
    """
    sources = sorted([*Path(__file__).parent.glob("*.py"), *_KERNELS.glob("*/numba_*.py")])
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    if _SETTINGS.CACHE_DIR:
        base = Path(_SETTINGS.CACHE_DIR)
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "dnamamba" / "kernels" / digest.hexdigest()[:16]


@cache
def _say(folder: Path) -> None:
    print(f"compiling the CPU kernels, once, about 10 s: kept in {folder}", file=sys.stderr, flush=True)


def compiled(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a kernel for float32 arrays, or take it from the cache; it runs without Python's lock."""

    def compile_now(function: Callable[..., Any]) -> Any:
        folder, before = _folder(), _SETTINGS.CACHE_DIR
        if not any(folder.rglob(f"*.{function.__name__}-*.nbi")):
            _say(folder)
        _SETTINGS.CACHE_DIR = str(folder)
        try:
            return numba.njit(signature, cache=True, nogil=True, error_model="numpy")(function)
        finally:
            _SETTINGS.CACHE_DIR = before

    return compile_now
