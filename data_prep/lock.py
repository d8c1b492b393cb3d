"""What was downloaded first: its SHA-256, kept next to the data and compared with every later download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from dnamamba.errors import UserError
from dnamamba.files import replacing

LOCK_NAME = "downloads.lock.json"


class Recorded(NamedTuple):
    """A file as it was when it was first downloaded."""

    size: int
    sha256: str


class Lock:
    """The lock file of a folder, by URL.

    Raises:
        UserError: the file is not one that this class has written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        self._entries: dict[str, Recorded] = {}
        if self.path.exists():
            try:
                entries = json.loads(self.path.read_text(encoding="utf-8"))
                self._entries = {url: Recorded(**entry) for url, entry in entries.items()}
            except (ValueError, TypeError, AttributeError):
                raise UserError(
                    f"{self.path} is damaged: restore it, or remove it to trust the next download"
                ) from None

    def get(self, url: str) -> Recorded | None:
        """Return the record of the first download from a URL."""
        return self._entries.get(url)

    def record(self, url: str, recorded: Recorded) -> None:
        """Keep what was downloaded from a URL; what is there already stays."""
        if url in self._entries:
            return
        self._entries[url] = recorded
        entries = {url: entry._asdict() for url, entry in sorted(self._entries.items())}
        text = json.dumps(entries, indent=2) + "\n"
        with replacing(self.path) as beside:
            beside.write_text(text, encoding="utf-8")
