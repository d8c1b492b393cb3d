"""Run notebooks' cells, and write what `notebooks/render.py` would.

A kernel and each command of a `%%bash` cell would import torch anew, for seconds each. One process, forked by
the server of `tests/processes.py`, imports what all notebooks need and forks for each of them, so that none
sees another's names. Bash reads the commands of a cell, which run in forks of the notebook's process, made
before its first cell.
"""

import base64
import contextlib
import importlib
import multiprocessing
import os
import resource
import runpy
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output

from tests import processes

ROOT = Path(__file__).parents[1]
FORK = multiprocessing.get_context("fork")
# Loaded before the first notebook: none starts a thread, and none is a module that `python -m` runs.
WARM = (
    "matplotlib_inline.backend_inline",
    "dnamamba.commands.finetune",
    "dnamamba.commands.pretrain",
    "dnamamba.inference.variants",
    "dnamamba.kernels.mamba_block.numba_op",
    "dnamamba.training.finetuning",
)
# Each call of `python` tells its arguments, which end in NUL, and then an empty one.
TELL = "python() { printf '%s\\0' \"$@\" ''; }\n"


def command(module: str, words: list[str], output: Path) -> None:
    """Be `python -m module words > output 2>&1`."""
    with output.open("w") as sys.stdout:
        sys.stderr = sys.stdout
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def serve(asked: Connection) -> None:
    """Run each command that is asked for in a fork, and answer with its status; None ends it."""
    for given in iter(asked.recv, None):
        started = FORK.Process(target=command, args=given)
        started.start()
        started.join()
        asked.send(started.exitcode)


def bash_of(server: Connection, output: Path) -> Callable[[str, str], None]:
    """The magic `%%bash`, of cells which call nothing but `python -m`."""

    def bash(line: str, cell: str) -> None:
        option, *arguments = line.split()
        assert option == "-s"
        read = ["bash", "-e", "-c", TELL + cell, "bash", *arguments]
        told = subprocess.run(read, check=True, capture_output=True, text=True)
        assert not told.stderr, told.stderr
        for words in told.stdout.removesuffix("\0\0").split("\0\0"):
            flag, module, *others = words.split("\0")
            assert flag == "-m"
            server.send((module, others, output))
            status = server.recv()
            print(output.read_text(), end="")
            assert status == 0, output.read_text()

    return bash


def displayed(shown: RichOutput) -> nbformat.NotebookNode:
    """As a kernel sends it, with pictures in base64."""
    data: dict[str, Any] = dict(shown.data)
    if isinstance(data.get("image/png"), bytes):
        data["image/png"] = base64.b64encode(data["image/png"]).decode()
    return nbformat.v4.new_output("display_data", data=data)


def run(notebook: nbformat.NotebookNode, server: Connection, output: Path) -> None:
    """Fill in the outputs; those of commands are kept in a file `output`."""
    shell = InteractiveShell.instance()
    shell.enable_gui = lambda gui=None: None  # pictures need no window
    shell.run_line_magic("matplotlib", "inline")
    shell.register_magic_function(bash_of(server, output), "cell", "bash")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # Within the shell's trap, so that what a cell ends with is captured and not printed.
            with shell.display_trap, capture_output() as said:
                result = shell.run_cell(cell.source)
            result.raise_error()
            cell.outputs = [nbformat.v4.new_output("stream", text=said.stdout + said.stderr)]
            cell.outputs += map(displayed, said.outputs)


def execute(path: Path, out: Path, folder: Path) -> None:
    """Run the notebook `path` in `folder` and write `out`/*.md and its pictures; stderr goes to `out`.err."""
    with out.with_suffix(".err").open("w") as sys.stderr:
        try:
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            ours, theirs = FORK.Pipe()
            FORK.Process(target=serve, args=(theirs,)).start()
            notebook = nbformat.read(path, as_version=4)
            try:
                run(notebook, ours, out.with_suffix(".said"))
            finally:
                ours.send(None)
            out.mkdir()
            write = runpy.run_path(str(ROOT / "notebooks" / "render.py"))["write"]
            write(notebook, path.stem, out, folder=str(Path.cwd()))
        except BaseException:
            traceback.print_exc()
            raise SystemExit(1) from None


def serve_notebooks(asked: Connection, environment: dict[str, str]) -> None:
    """Import what notebooks import; `execute` each that is asked for in a fork, answer with its status."""
    os.environ.update(environment)
    for module in WARM:
        importlib.import_module(module)
    with contextlib.suppress(EOFError):
        while True:
            given, before = asked.recv(), seconds_of_children()
            started = FORK.Process(target=execute, args=given)
            started.start()
            started.join()
            asked.send((started.exitcode, seconds_of_children() - before))


def seconds_of_children() -> float:
    """Return the processor time of processes that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Notebooks:
    """A process in which notebooks run, one after another.

    Args:
        environment: what they have besides this process's.

    Attributes:
        seconds: processor time of the last one, its commands included; nothing is imported in it.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        processes.serve()
        self._asking, theirs = multiprocessing.Pipe()
        started = multiprocessing.get_context("forkserver").Process
        self._process = started(target=serve_notebooks, args=(theirs, {**os.environ, **environment}))
        self._process.start()
        theirs.close()

    def run(self, path: Path, out: Path, folder: Path) -> str:
        """Run one, and return what went wrong, or nothing."""
        self._asking.send((path, out, folder))
        status, self.seconds = self._asking.recv()
        return out.with_suffix(".err").read_text() if status else ""

    def close(self) -> None:
        self._asking.close()
        self._process.join()
