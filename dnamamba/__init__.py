"""dnamamba: byte-level Mamba models of long DNA.

Names are imported when they are first used: `import dnamamba` alone costs no torch, Lightning or Triton.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Genome": "dnamamba.data.fasta",
    "LanguageModel": "dnamamba.models",
    "MambaConfig": "dnamamba.models",
    "UserError": "dnamamba.errors",
    "causal_conv1d": "dnamamba.kernels",
    "get_alphabet": "dnamamba.data.alphabet",
    "load": "dnamamba.checkpoint",
    "save_model": "dnamamba.checkpoint",
    "selective_scan": "dnamamba.kernels",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dnamamba' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
