"""Run command lines as a shell would, one after the other in one process: torch is imported once."""

import contextlib
import io
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from dnamamba.commands import entry


def run(words: list[str]) -> tuple[int, str, str]:
    """The status of a command and its two streams."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["dnamamba", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            entry.main()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return status, out.getvalue(), err.getvalue()


def serve(asked: Connection, folder: Path) -> None:
    """Answer the words of each `dnamamba ...` with its status, what was printed, and what went to stderr."""
    os.chdir(folder)
    with contextlib.suppress(EOFError):
        while True:
            asked.send(run(asked.recv()))
