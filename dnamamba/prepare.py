"""`dnamamba prepare NAME`: a published genome, downloaded or brought from elsewhere, ready to train on."""

import sys


def main() -> None:
    """Run the command `dnamamba prepare`, which is `python -m data_prep.download`."""
    from data_prep.download import main as download  # imports NumPy and pyfaidx

    sys.exit(download(program="dnamamba prepare"))


if __name__ == "__main__":
    main()
