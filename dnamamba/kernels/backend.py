"""The one place where a backend is chosen: an explicit choice is honoured or refused, never replaced."""

from functools import cache
from types import TracebackType
from typing import Literal, get_args

import torch

from .eager import watched

Backend = Literal["reference", "chunked", "numba", "triton"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

_chosen: str = "auto"


class use:  # noqa: N801 - a function that is a context too
    """Let `"auto"` mean `backend` in this process, from now on or for as long as a context lasts.

    `use("chunked")` holds until the next call; `with use("chunked"):` ends with what was before. What a call
    names itself comes first, and `use("auto")` is the choice by device again.

    Raises:
        ValueError: `backend` is neither `"auto"` nor one of `BACKENDS`.
    """

    def __init__(self, backend: str) -> None:
        global _chosen
        _require_known(backend)
        self._before, _chosen = _chosen, backend

    def __enter__(self) -> "use":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _chosen
        _chosen = self._before


def resolve(backend: str, device: torch.device, dtype: torch.dtype) -> Backend:
    """Turn a requested backend into the one that will run on `device` with inputs of `dtype`.

    `"auto"` is what `use` says; else `"triton"` on CUDA and `"numba"` on a CPU where Numba can be imported.
    It is `"chunked"` for fp64, on other devices, without Numba, and on a CPU under torch.compile or a
    dispatch mode, which must see torch's operations.

    Args:
        backend: the name of one, or `auto`.
        device: of the inputs.
        dtype: of the inputs.

    Raises:
        ValueError: `backend` is neither `"auto"` nor one of `BACKENDS`.
        RuntimeError: `"triton"` or `"numba"` was requested where it can't run.
    """
    if backend == "auto":
        backend = _chosen
    if backend == "auto":
        backend = _automatic(device, dtype)
    _require_known(backend)
    if backend == "triton" and device.type != "cuda":
        _require_interpreter(device)
    if backend == "numba":
        _require_numba(device, dtype)
    return backend  # type: ignore[return-value]


def _automatic(device: torch.device, dtype: torch.dtype) -> Backend:
    if dtype == torch.float64:
        return "chunked"
    if device.type == "cuda":
        return "triton"
    return "numba" if device.type == "cpu" and not watched() and _why_no_numba() is None else "chunked"


def _require_known(backend: str) -> None:
    if backend not in ("auto", *BACKENDS):
        choices = ", ".join(("auto", *BACKENDS))
        raise ValueError(f"unknown backend {backend!r}; choose one of {choices}")


@cache
def _why_no_numba() -> str | None:
    """Return why Numba can't be imported; None if it can."""
    try:
        import numba  # noqa: F401
    except ImportError as error:  # not installed, or not for this NumPy
        return str(error)
    return None


def _require_numba(device: torch.device, dtype: torch.dtype) -> None:
    if device.type != "cpu":
        raise RuntimeError(f"backend 'numba' needs tensors on the CPU, not on {device}")
    if dtype == torch.float64:
        raise RuntimeError(
            "backend 'numba' computes in float32, not in torch.float64; backend 'chunked' takes it"
        )
    why = _why_no_numba()
    if why is not None:
        raise RuntimeError(
            f"backend 'numba' needs the numba package ({why}): pip install 'dnamamba[cpu]', "
            "or take backend 'chunked'"
        )


def _require_interpreter(device: torch.device) -> None:
    try:
        from triton import knobs
    except ImportError as error:
        raise RuntimeError("backend 'triton' needs the triton package, which is not installed") from error
    if not knobs.runtime.interpret:
        raise RuntimeError(
            f"backend 'triton' needs tensors on a CUDA device, not on {device}; "
            "elsewhere it runs only under triton's interpreter (TRITON_INTERPRET=1)"
        )
