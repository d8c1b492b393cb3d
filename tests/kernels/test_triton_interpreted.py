"""The Triton kernels without a GPU: the files of `interpreted/` in processes under triton's interpreter.

Three processes: each takes 4 s to load torch, triton and what the interpreter patches.

The interpreter is chosen by an environment variable when a kernel is defined, so it can't be switched on in a
process that may already hold compiled kernels.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is published for Linux on x86-64 alone")
HERE = Path(__file__).parent
GROUPS = ("scan spread", "block packing bidirectional", "conv elementwise step product gluon")


def test_every_interpreted_file_is_in_one_group() -> None:
    files = [path.stem for path in (HERE / "interpreted").glob("*.py")]
    others = ("__init__", "conftest")
    assert sorted(" ".join(GROUPS).split()) == sorted(name for name in files if name not in others)


@pytest.mark.parametrize("cases", GROUPS)
def test_kernels_under_the_interpreter(cases: str) -> None:
    paths = [str(HERE / "interpreted" / f"{name}.py") for name in cases.split()]
    run = subprocess.run(
        # Of pytest's plugins the one that the settings name: the others take seconds to load.
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", *paths],
        cwd=HERE.parents[1],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
