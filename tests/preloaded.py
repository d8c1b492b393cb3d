"""What the server of `tests/processes.py` loads before it forks: libraries, a compiler of kernels, dnamamba.

Of dnamamba it is what commands import once their settings are right, 0.2 s each time, and not the modules
that `python -m` runs. A command whose path leads to another build imports that one, see `tests/processes.py`.
"""

import contextlib
import gc
from importlib import import_module

import hydra
import matplotlib.pyplot  # noqa: F401
import rich.console  # noqa: F401
from hydra.core.global_hydra import GlobalHydra

import tests.offline  # noqa: F401
from dnamamba.commands.entry import COMMANDS
from dnamamba.commands.experiments import conf_dir
from dnamamba.commands.lean import load_torchmetrics
from tests import composing

load_torchmetrics({})  # as the commands do, without what torchmetrics loads for nobody

import lightning  # noqa: E402, F401

with contextlib.suppress(ImportError):
    import numba

    # Its first function takes the compiler most of a second.
    numba.njit("float32(float32)", cache=False)(lambda x: x + 1)

for name in COMMANDS:
    with contextlib.suppress(ModuleNotFoundError):  # of those without a module of this name
        import_module(f"dnamamba.commands.{name}")

composing.quicken()
with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
    for name in ("pretrain", "finetune", "embed", "predict", "score", "tracks"):
        # A command composes twice: to ask whether it is a sweep, and to run.
        GlobalHydra.instance().hydra.get_mode(name, [])
        hydra.compose(name)

gc.collect()
gc.freeze()  # a fork's collector passes over all this, and leaves its memory shared
