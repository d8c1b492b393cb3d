"""Commands as they are typed, one after the other in one folder and one process: torch is imported once."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.newcomer.files import make

Shell = Callable[[str], tuple[int, str, str]]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("newcomer")
    make(made)
    return made


@pytest.fixture(scope="session")
def shell(folder: Path) -> Iterator[Shell]:
    """Run a command line in the folder; words with spaces stand in quotes, which a shell takes off."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.newcomer.commands"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def run(line: str) -> tuple[int, str, str]:
        process.stdin.write(json.dumps(shlex.split(line)) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        status, out, err = json.loads(process.stdout.readline())  # type: ignore[union-attr]
        return status, out, err

    yield run
    process.communicate(timeout=20)
