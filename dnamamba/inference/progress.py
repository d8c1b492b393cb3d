"""A bar of work that is counted, where somebody watches; elsewhere a line now and then."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from dnamamba.reached import Lines, Reached


def bar(console: Console, what: str, total: int, unit: str) -> AbstractContextManager[Reached]:
    """Show how many items are done, and give a function to call with those done since the last call.

    Args:
        console: to show it on.
        what: the bar's text.
        total: of the items.
        unit: of an item, such as rows.
    """
    return _counted(console, what, total, unit, MofNCompleteColumn())


def bases_read(console: Console, what: str, total: int) -> AbstractContextManager[Reached]:
    """Show which part of the bases is read, and give a function to call with those read since the last call.

    Args:
        console: to show it on.
        what: the bar's text.
        total: bases to read.
    """
    return _counted(console, what, total, "bases", TaskProgressColumn(), TextColumn(f"of {total:,} bases"))


@contextmanager
def _counted(
    console: Console, what: str, total: int, unit: str, *numbers: ProgressColumn
) -> Iterator[Reached]:
    columns = (TextColumn("{task.description}"), BarColumn(), *numbers, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        lines = Lines(what, total, unit, console.print)
        yield Reached(total, unit, partial(progress.advance, task) if console.is_terminal else lines)
