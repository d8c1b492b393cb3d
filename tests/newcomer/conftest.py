"""Commands as they are typed, one after the other in one folder and one process: torch is imported once."""

import multiprocessing
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.newcomer.commands import serve
from tests.newcomer.files import make

Shell = Callable[[str], tuple[int, str, str]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("newcomer")
    make(made)
    return made


@pytest.fixture(scope="session")
def shell(folder: Path) -> Iterator[Shell]:
    """Run a command line in the folder; words with spaces stand in quotes, which a shell takes off."""
    processes.serve()
    asking, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("forkserver").Process(target=serve, args=(theirs, folder))
    process.start()
    theirs.close()

    def run(line: str) -> tuple[int, str, str]:
        asking.send(shlex.split(line))
        status, out, err = asking.recv()
        return status, out, err

    yield run
    asking.close()
    process.join(timeout=20)
