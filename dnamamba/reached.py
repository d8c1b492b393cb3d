"""How far a command has come: what Ctrl-C ends it with.

A command that counts its work says so here, for its bar and for the last line of a run that was stopped.
"""

from collections.abc import Callable


class Reached:
    """Work that is counted.

    Args:
        total: of the work.
        unit: of it, such as `bases`.
        tell: is called with each number that was added, such as a bar's.
    """

    def __init__(self, total: int, unit: str, tell: Callable[[int], object] = lambda number: None) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self._tell = tell
        _latest.clear()
        _latest.append(self)

    def __call__(self, number: int) -> None:
        """Count so many more."""
        self.done += number
        self._tell(number)

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.unit}"


_latest: list[Reached] = []


def forget() -> None:
    """Begin anew: nothing was counted."""
    _latest.clear()


def so_far() -> str:
    """Describe how far the command is, as in "stopped after 4 of 10 rows"."""
    return f"after {_latest[0]}" if _latest else "before the first result"


def stopped_line() -> str:
    """Describe where a command without a checkpoint was stopped.

    >>> Reached(10, "rows")(4)
    >>> stopped_line()
    'stopped after 4 of 10 rows; nothing was written'
    >>> forget()
    >>> stopped_line()
    'stopped before the first result; nothing was written'
    """
    return f"stopped {so_far()}; nothing was written"
