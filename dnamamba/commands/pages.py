"""Help pages on standard output."""

import os
import sys


def show(page: str) -> None:
    """Print a page, of which a reader such as `head` may take only the beginning."""
    try:
        print(page, flush=True)
    except BrokenPipeError:
        drop_output()
    except OSError as error:  # a full disk
        drop_output()
        print(f"dnamamba: error: standard output: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def drop_output() -> None:
    """Send the rest of standard output nowhere: Python flushes again as it ends, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
