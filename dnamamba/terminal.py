"""What commands print to: Rich's console, to which every text is text."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterable
from typing import Any

from rich import console
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from dnamamba.escaping import bounded, printable


class Console(console.Console):
    """A console for names from files: escaped, shortened, with neither markup nor colours found in them.

    Rich's highlighter looks for numbers and paths in each line by expressions that take minutes over some
    lines; markup in a file's name is a mistake or a style.

    In a notebook it prints text, which Jupyter gathers into one output. Rich's own would make an output of
    each line, and take Jupyter, which asks for colours, for a terminal.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False, **options: Any) -> None:
        notebook = {"force_jupyter": False, "force_terminal": False, "width": 100} if in_notebook() else {}
        options = {"markup": False, "emoji": False, "highlight": False} | notebook | options
        super().__init__(stderr=stderr, quiet=quiet, **options)

    def note(self, line: str | None) -> None:
        """Print a line of what was decided by itself, if there is one."""
        if line is not None:
            self.print(f"dnamamba: {line}", soft_wrap=True)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape a text before it is laid out; its line ends stay."""
        return super().render_str(bounded("\n".join(map(printable, text.split("\n")))), **options)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Escape what is laid out already, such as a progress bar's description."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or not segment.text.strip("\n"):
                yield segment
            else:
                text = "\n".join(map(printable, segment.text.split("\n")))
                yield Segment(text, segment.style, segment.control)

    def on_broken_pipe(self) -> None:
        """End as when the terminal is closed, where that is taken care of; a training leaves a checkpoint."""
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            super().on_broken_pipe()
        self.quiet = True
        _to_nowhere(self.file.fileno())
        signal.raise_signal(signal.SIGHUP)

    def status(self, status: Any, **options: Any) -> Status:
        """Show a line with a spinner; Rich itself would read markup in a text."""
        shown = Text(printable(status)) if isinstance(status, str) else status
        return super().status(shown, **options)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook: Jupyter's, VS Code's, Colab's."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def leave_closed_terminals() -> None:
    """Let what is printed from now on go nowhere, where the terminal is gone: to write there is an error."""
    for descriptor in (1, 2):
        try:
            character = stat.S_ISCHR(os.fstat(descriptor).st_mode)
        except OSError:  # closed
            continue
        if character and not os.isatty(descriptor):
            _to_nowhere(descriptor)


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
