"""Compilation of the CPU kernels: once a machine, kept in the user's cache, said in one line."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba

_SETTINGS: Any = numba.config  # filled when Numba is imported, so that no type checker knows its names
_KERNELS = Path(__file__).parents[1]


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
def _writable_folder() -> Path | None:
    """Return `_folder()`; None, and one line that says so, if it can't be written."""
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        _say(
            f"compiling the CPU kernels, about 10 s in each process: {folder} can't be written "
            f"({error.strerror}); set NUMBA_CACHE_DIR to a folder that can"
        )
        return None


@cache
def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def compiled(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a kernel for float32 arrays, or take it from the cache; it runs without Python's lock."""

    def compile_now(function: Callable[..., Any]) -> Any:
        folder, before = _writable_folder(), _SETTINGS.CACHE_DIR
        if folder is None:
            return numba.njit(signature, nogil=True, error_model="numpy")(function)
        if not any(folder.rglob(f"*.{function.__name__}-*.nbi")):
            _say(f"compiling the CPU kernels, once, about 10 s: kept in {folder}")
        _SETTINGS.CACHE_DIR = str(folder)
        try:
            return numba.njit(signature, cache=True, nogil=True, error_model="numpy")(function)
        except Exception:  # a full disk or a damaged file; an error of the kernel's own comes again
            return numba.njit(signature, nogil=True, error_model="numpy")(function)
        finally:
            _SETTINGS.CACHE_DIR = before

    return compile_now
