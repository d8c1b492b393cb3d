"""`python -m dnamamba.info`: versions, devices, which kernels would run and why, and a test of them."""

import signal
import sys

from dnamamba.commands.pages import drop_output, show

PAGE = """usage: dnamamba info

Print versions, devices, and which kernel runs on each device and why; test every kernel against float64.

  dnamamba info

It has no settings. The status is 1 if a kernel that can run here is wrong. The first run compiles kernels,
which takes some seconds."""


def main() -> None:
    """Run the console script `dnamamba-info`. Exits with 1 if a backend differs from the reference."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        show(PAGE)
        return
    if sys.argv[1:]:
        print(f"dnamamba: error: {sys.argv[1]}: info has no settings; leave it out", file=sys.stderr)
        sys.exit(1)
    try:
        from dnamamba.commands.environment import report  # imports torch

        agrees = report()
    except KeyboardInterrupt:
        print("dnamamba: stopped before all kernels were tested", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except OSError as error:  # such as a full disk, of the report
        print(f"dnamamba: error: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        drop_output()
        sys.exit(1)
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
