"""What the server of `tests/processes.py` loads before it forks: libraries, and the compiler of kernels.

Nothing of dnamamba: a test may run another build of it.
"""

import contextlib
import gc
import runpy
from pathlib import Path

import hydra  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import rich.console  # noqa: F401

import tests.offline  # noqa: F401

# As the commands do, without what torchmetrics loads for nobody. By path: this imports nothing of dnamamba.
LEAN = Path(__file__).parents[1] / "dnamamba" / "commands" / "lean.py"
runpy.run_path(str(LEAN))["load_torchmetrics"]({})

import lightning  # noqa: E402, F401

with contextlib.suppress(ImportError):
    import numba

    # Its first function takes the compiler most of a second.
    numba.njit("float32(float32)", cache=False)(lambda x: x + 1)

gc.collect()
gc.freeze()  # a fork's collector passes over all this, and leaves its memory shared
