"""How far a command has come: what Ctrl-C ends it with.

A command that counts its work says so here, for its bar and for the last line of a run that was stopped.
"""

import time
from collections.abc import Callable

SILENCE = 30.0
"""Seconds without a line, where no bar can be drawn."""


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


class Lines:
    """How far a work has come, in a line now and then: for where no bar can be drawn.

    Args:
        what: is done.
        total: of the work.
        unit: of it, such as `bases`.
        say: prints a line.
    """

    def __init__(self, what: str, total: int, unit: str, say: Callable[[str], object]) -> None:
        self.what, self.total, self.unit, self._say = what, total, unit, say
        self._done = 0
        self._began = self._said = time.monotonic()

    def __call__(self, number: int) -> None:
        """Count so many more, and say so if nothing was said for `SILENCE`."""
        self._done += number
        now = time.monotonic()
        if now - self._said >= SILENCE and self._done:
            self._said = now
            rest = left(now - self._began, self._done, self.total)
            self._say(f"{self.what}: {self._done:,} of {self.total:,} {self.unit}, {rest}")


def left(seconds: float, done: int, total: int) -> str:
    """Return the time that is left, as a person says it, where `done` of `total` took so many seconds.

    Args:
        seconds: so far.
        done, total: of whatever is counted.

    >>> left(60.0, 10, 40), left(3600.0, 1, 3)
    ('about 3 min left', 'about 2.0 h left')
    """
    rest = seconds / done * (total - done)
    if rest < 90:
        return f"about {rest:.0f} s left"
    return f"about {rest / 60:.0f} min left" if rest < 90 * 60 else f"about {rest / 3600:.1f} h left"


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
