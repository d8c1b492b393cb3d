"""Errors of a user, and stops by a signal: the two ways a run ends early without a fault of ours."""

import operator
import signal

from dnamamba.escaping import bounded, printable

LEFT_ALONE = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2, signal.SIGXCPU, signal.SIGALRM)
"""Stop signals that are left alone where they are ignored (nohup) or a program has its own handler."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, *LEFT_ALONE)
"""Signals that end a run early but whole: a user's, a terminal's and a batch system's."""

LARGEST = 1 << 48
"""The largest whole number of a setting, seeds aside: sums and products of it overflow nothing."""


class UserError(ValueError):
    """A mistake in a user's file, option or checkpoint.

    The message is one line that names the file, record, key or number; what a terminal would obey is escaped
    in it. The command line prints it without a traceback and exits with status 1; in a notebook it is an
    ordinary `ValueError`.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(bounded(printable(message)))


def whole_number(name: str, value: object) -> int:
    """Return a number that `range` and slices take, NumPy's integers too.

    Args:
        name: of the argument, for messages.
        value: the user's.

    Raises:
        UserError: it is not a whole number; True is a mistake too.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise UserError(f"{name}: must be a whole number (got {value!r})")


def missing(owner: object, name: str, what: str = "") -> UserError:
    """Return the error of a contract's method or attribute that a class of the user's lacks.

    >>> print(missing(ValueError(), "with_traceback"))
    builtins.ValueError: with_traceback is missing; builtins.BaseException says what it returns

    Args:
        owner: an instance of the class.
        name: of the method, which a base class documents.
        what: what it is or returns, a clause; "": names the base class.
    """
    kind = type(owner)
    base = next((one for one in kind.__mro__ if name in vars(one)), kind)
    return UserError(f"{_path(kind)}: {name} is missing; {what or f'{_path(base)} says what it returns'}")


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


class Interrupted(Exception):  # noqa: N818
    """The user or the scheduler stopped a run; the message says how to resume.

    Args:
        message: one line.
        number: the signal that asked for it.
    """

    def __init__(self, message: str, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(bounded(printable(message)))
        self.status = 128 + number  # what a shell would say of a process that the signal ended


class Terminated(KeyboardInterrupt):
    """What SIGTERM and other stop signals raise in a command, so that it removes what is half written.

    Args:
        number: the signal.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number = number


def signal_of(stop: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that ended a command: SIGINT, of Ctrl-C, unless it says another."""
    return stop.number if isinstance(stop, Terminated) else signal.SIGINT
