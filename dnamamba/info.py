"""`python -m dnamamba.info`: versions, devices, which kernels would run and why, and a test of them."""

import sys


def main() -> None:
    """The console script `dnamamba-info`. Exits with 1 if a backend does not agree with the reference."""
    from dnamamba.commands.environment import report  # imports torch

    sys.exit(0 if report() else 1)


if __name__ == "__main__":
    main()
