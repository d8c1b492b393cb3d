"""The one exception that means: the user can mend this, and the message says how."""


class UserError(ValueError):
    """A mistake in a user's file, option or checkpoint.

    The message is one line that names the file, record, key or number. The command line prints it without a
    traceback and exits with status 1; in a notebook it is an ordinary `ValueError`.
    """
