"""A bar of bases read, where somebody watches; elsewhere a line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dnamamba.reached import Lines, Reached


@contextmanager
def bases_read(console: Console, what: str, total: int) -> Iterator[Reached]:
    """Give a function to call with the number of bases read since the last call.

    Args:
        console: to show it on.
        what: the bar's text.
        total: bases to read.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("of {task.fields[bases]} bases"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=total, bases=f"{total:,}")
        lines = Lines(what, total, "bases", console.print)
        yield Reached(total, "bases", partial(progress.advance, task) if console.is_terminal else lines)
