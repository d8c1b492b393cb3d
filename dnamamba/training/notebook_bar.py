"""A progress bar in a notebook: one output, which is drawn again as the work goes on."""

import sys
import time
from io import StringIO
from typing import Any

from rich.progress import Progress, ProgressColumn

from dnamamba.terminal import Console
from dnamamba.training.bars import PERIOD

INTERVAL = 0.25  # seconds between two drawings


class NotebookBar(Progress):
    """Rich's bar as one output of text, without widgets: it is there in a notebook that is read later, too.

    Args:
        columns: what the line shows.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        # Rich draws into nothing, and from no thread of its own.
        nowhere = Console(file=StringIO())
        super().__init__(*columns, console=nowhere, disable=True, speed_estimate_period=PERIOD)
        self._handle: Any = None
        self._drawn_at = 0.0

    def start(self) -> None:
        """Show the bar."""
        self._handle = sys.modules["IPython.display"].display(self._line(), raw=True, display_id=True)
        self._drawn_at = time.monotonic()

    def stop(self) -> None:
        """Draw it a last time; of several calls the first counts."""
        if self._handle is not None:
            self._handle.update(self._line(), raw=True)
        self._handle = None

    def update(self, *arguments: Any, **changes: Any) -> None:
        """Move the bar; it is drawn a few times a second."""
        super().update(*arguments, **changes)
        if self._handle is not None and time.monotonic() - self._drawn_at >= INTERVAL:
            self._handle.update(self._line(), raw=True)
            self._drawn_at = time.monotonic()

    def _line(self) -> dict[str, str]:
        """The bar as plain text, by the type of its data."""
        console = Console(
            file=StringIO(), width=120, force_terminal=False, force_jupyter=False, color_system=None
        )
        with console.capture() as drawn:
            console.print(self.get_renderable())
        return {"text/plain": drawn.get().rstrip()}
