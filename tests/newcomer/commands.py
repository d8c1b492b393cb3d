"""Run command lines as a shell would, one after the other in one process: torch is imported once.

Each line of standard input is a JSON list, the words of `dnamamba ...`; each of standard output is one too:
the status, what was printed, and what went to standard error.
"""

import contextlib
import io
import json
import sys

from dnamamba.commands import entry


def run(words: list[str]) -> tuple[int, str, str]:
    """The status of a command and its two streams."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["dnamamba", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            entry.main()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return status, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
