"""Run a notebook's cells in this process, and write what `notebooks/render.py` would.

A kernel and each command of a `%%bash` cell would import torch anew, for seconds each. In a process that
`tests/processes.py` has forked they have it. Bash reads the commands of a cell, which run in forks of this
process, made before its first cell.
"""

import base64
import multiprocessing
import runpy
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output

ROOT = Path(__file__).parents[1]
FORK = multiprocessing.get_context("fork")
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


def main() -> None:
    out, path = map(Path, sys.argv[1:])
    out.mkdir()
    ours, theirs = FORK.Pipe()
    FORK.Process(target=serve, args=(theirs,)).start()
    notebook = nbformat.read(path, as_version=4)
    try:
        run(notebook, ours, out.with_suffix(".said"))
    finally:
        ours.send(None)
    write = runpy.run_path(str(ROOT / "notebooks" / "render.py"))["write"]
    write(notebook, path.stem, out, folder=str(Path.cwd()))


if __name__ == "__main__":
    main()
