"""The two ways a run ends early that are no fault of ours."""

import signal
import unicodedata

# Control characters, marks that change the direction of text, halves of characters, line and paragraph ends.
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


_LONGEST = 4000  # characters of a message


def printable(text: str) -> str:
    """The text as it may be shown: what a terminal would obey, or not show, as an escape such as `\\x1b`.

    Every name or label from a file goes through here once, on its way to a terminal.

    >>> printable("a\\x1b[1mb")
    'a\\\\x1b[1mb'
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNPRINTABLE else c for c in text
    )


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals that end a run early but whole."""


class UserError(ValueError):
    """A mistake in a user's file, option or checkpoint.

    The message is one line that names the file, record, key or number; what a terminal would obey is escaped
    in it. The command line prints it without a traceback and exits with status 1; in a notebook it is an
    ordinary `ValueError`.
    """

    def __init__(self, message: str = "") -> None:
        shown = printable(message)
        if len(shown) > _LONGEST:
            shown = f"{shown[: _LONGEST - 500]} [...] {shown[-500:]}"
        super().__init__(shown)


class Interrupted(Exception):  # noqa: N818
    """The user or the scheduler stopped a run; the message says how to go on.

    Args:
        message: one line.
        number: the signal that asked for it.
    """

    def __init__(self, message: str, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(message)
        self.status = 128 + number  # what a shell would say of a process that the signal ended
