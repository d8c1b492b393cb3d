"""The one place where a backend is chosen: an explicit choice is honoured or refused, never replaced."""

from typing import Literal, get_args

import torch

Backend = Literal["reference", "chunked", "triton"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


def resolve(backend: str, device: torch.device, dtype: torch.dtype) -> Backend:
    """Turn a requested backend into the one that will run on `device` with inputs of `dtype`.

    `"auto"` is `"triton"` on CUDA, `"chunked"` elsewhere and for fp64, which no Triton kernel computes in.

    Raises:
        ValueError: `backend` is neither `"auto"` nor one of `BACKENDS`.
        RuntimeError: `"triton"` was requested where it can't run.
    """
    if backend == "auto":
        backend = "triton" if device.type == "cuda" and dtype != torch.float64 else "chunked"
    if backend not in BACKENDS:
        choices = ", ".join(("auto", *BACKENDS))
        raise ValueError(f"unknown backend {backend!r}; choose one of {choices}")
    if backend == "triton" and device.type != "cuda":
        _require_interpreter(device)
    return backend


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
