"""What a bar has room for: on 80 columns the steps and the time left are there, whatever else is."""

from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

PERIOD = 600.0
"""Seconds by which the time left is estimated; by Rich's 30, steps longer than that would have none."""

_BAR = 20  # columns


class Numbers(ProgressColumn):
    """The field `metrics`, cut off where the line ends: of all columns, this alone gives way."""

    def render(self, task: Task) -> Text:
        """Return the numbers on one line."""
        return Text(task.fields["metrics"], no_wrap=True, overflow="ellipsis")


def columns(title: str) -> tuple[ProgressColumn, ...]:
    """Return the columns of a bar: title, bar, steps, time left, and the field `metrics`.

    >>> [type(column).__name__ for column in columns("pretraining")][2:4]
    ['MofNCompleteColumn', 'TimeRemainingColumn']
    """
    return (
        TextColumn(title, table_column=Column(no_wrap=True)),
        BarColumn(_BAR, table_column=Column(no_wrap=True)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        Numbers(),
    )
