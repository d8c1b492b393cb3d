"""Help pages on standard output."""

import os
import sys


def show(page: str) -> None:
    """Print a page, of which a reader such as `head` may take only the beginning."""
    try:
        print(page, flush=True)
    except BrokenPipeError:
        # Python flushes once more as it ends, and would complain of it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"dnamamba: error: standard output: {error.strerror}", file=sys.stderr)
        sys.exit(1)
