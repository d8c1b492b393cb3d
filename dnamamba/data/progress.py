"""A progress bar for reading large files; nothing for small ones, nor without a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from dnamamba.escaping import printable
from dnamamba.terminal import Console

LARGE = 100_000_000


@contextmanager
def reading(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function to call with the number of bytes (or bases, a byte each) done since the last call."""
    console = Console(stderr=True)
    if total < LARGE or not console.is_terminal:
        yield lambda done: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(printable(what), total=total)
        yield lambda done: progress.advance(task, done)
