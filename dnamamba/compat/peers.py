"""Let other packages' models run on our kernels."""

from importlib import import_module
from typing import Any

from dnamamba.compat.conv import causal_conv1d_fn, causal_conv1d_update
from dnamamba.compat.scan import selective_scan_fn, selective_state_update


def use_in_transformers() -> None:
    """Let transformers' Mamba models of this process run on our kernels, those made before too.

    Without kernels of its own, transformers runs a position at a time.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        RuntimeError: this version of transformers has no such functions.

    >>> from dnamamba import compat
    >>> compat.use_in_transformers()
    """
    module = import_module("transformers.models.mamba.modeling_mamba")
    ours = {
        "causal_conv1d_fn": _convolution,
        "causal_conv1d_update": causal_conv1d_update,
        "mamba_selective_scan": _scan,
        "mamba_selective_state_update": selective_state_update,
    }
    missing = [name for name in ours if not hasattr(module, name)]
    if missing:
        raise RuntimeError(f"transformers has no {', '.join(missing)}; dnamamba knows version 5.23")
    for name, function in ours.items():
        setattr(module, name, function)


def _convolution(x: Any, weight: Any, bias: Any = None, activation: Any = None, **_: Any) -> Any:
    return causal_conv1d_fn(x, weight, bias, activation=activation)


def _scan(u: Any, delta: Any, A: Any, B: Any, C: Any, **options: Any) -> Any:
    # How transformers itself would scan has no meaning here.
    for name in ("use_mambapy", "use_associative_scan"):
        options.pop(name, None)
    return selective_scan_fn(u, delta, A, B, C, **options)
