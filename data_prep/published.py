"""Lists of checksums as servers publish them, for files that were fetched elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from dnamamba.errors import UserError

LISTS = ("md5checksums.txt", "md5sum.txt")
"""Names of such lists at NCBI and at UCSC: one that lies next to a file is what the file is checked by."""
_LINE = re.compile(r"([0-9a-fA-F]{32}) [ *](?:\./)?(\S+)")


def published_md5(path: Path) -> tuple[str, Path] | None:
    """Return the MD5 of a file in a list next to it, and the list; None where no list names the file.

    Raises:
        UserError: the list can't be read.
    """
    for name in LISTS:
        listed = path.with_name(name)
        if not listed.is_file():
            continue
        try:
            lines = listed.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{listed}: not a list of checksums; fetch it again") from None
        for line in lines:
            found = _LINE.fullmatch(line.strip())
            if found and found[2] == path.name.removesuffix(".part"):
                return found[1].lower(), listed
    return None
