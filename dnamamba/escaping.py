"""Names and labels from files on their way out: to a terminal, into a table, onto a picture.

What a file calls a record or a class may hold what a terminal obeys, a spreadsheet computes or Matplotlib
takes for mathematics; and it may be long. All of it is escaped and shortened here and nowhere else.
"""

from __future__ import annotations

import csv
import logging
import re
import unicodedata
from collections.abc import Iterable
from typing import TextIO

LONGEST = 4000
"""Characters of a line, a message or a cell of a printed table; a longer one is shortened in its middle."""

_END = 500  # characters kept of its end

# Control characters, marks that change the direction of text, halves of characters, line and paragraph ends.
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# A spreadsheet takes a cell for a formula by its first character; a sign alone and a number are none.
_FORMULA = re.compile(r"[=@+\-].")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf)")


def printable(text: str) -> str:
    """Return a text for a terminal: what it would obey, or not show, becomes an escape such as `\\x1b`.

    >>> printable("a\\x1b[1mb")
    'a\\\\x1b[1mb'
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNPRINTABLE else c for c in text
    )


def bounded(text: str) -> str:
    """Return the text, of at most about `LONGEST` characters: of a longer one the begin and the end."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - _END]} [...] {text[-_END:]}"


def drawable(text: str, longest: int = 200) -> str:
    """Return the text for a picture: printable, at most about `longest` characters a line; line ends stay."""
    return "\n".join(_short(printable(line), longest) for line in text.split("\n"))


def _short(line: str, longest: int) -> str:
    third = longest // 3
    return line if len(line) <= longest else f"{line[: 2 * third]} [...] {line[-third:]}"


def cell(value: object) -> str:
    """Return the text for a cell in a TSV table: one line, nothing a terminal obeys, no formula.

    What a spreadsheet would compute, such as `=1+1`, gets an apostrophe before it, which spreadsheets take
    for "this is text". Numbers stay as they are, and so do `+` and `-` alone.

    >>> cell("=1+1"), cell("-0.5"), cell("-")
    ("'=1+1", '-0.5', '-')
    """
    text = printable(str(value))
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


class PrintableRecord(logging.LogRecord):
    """A line of a log, such as Hydra's on the jobs of a sweep, with its names escaped."""

    def getMessage(self) -> str:  # noqa: N802
        """Return the message for a terminal; its line ends and tabs stay."""
        return "".join(
            each if each in ("\n", "\t") else printable(each)
            for each in re.split("([\n\t])", super().getMessage())
        )


class TsvWriter:
    """Rows of a TSV or CSV table, each cell as `cell` makes it.

    Args:
        file: opened with `newline=""` and in UTF-8.
        delimiter: a tab, or a comma.
    """

    def __init__(self, file: TextIO, delimiter: str = "\t") -> None:
        self._writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")

    def writerow(self, row: Iterable[object]) -> None:
        """Write a row."""
        self._writer.writerow([cell(value) for value in row])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write several."""
        for row in rows:
            self.writerow(row)
