"""Labelled sequences out of a file in somebody's published layout: what a suite's data set is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dnamamba.data.examples import Collector
from dnamamba.datasets.labelled import LabelledConfig
from dnamamba.errors import UserError, missing


class Labelled(NamedTuple):
    """A sequence of a file.

    Attributes:
        name: of the sequence.
        letters: its bases.
        label: a class, or a number as text.
        split: `train`, `valid` or `test`; empty where the suite leaves it to a hash.
        where: names it in a message.
    """

    name: str
    letters: str
    label: str
    split: str
    where: str


@dataclass(frozen=True)
class RowsConfig(LabelledConfig):
    """Labelled sequences that `rows` reads. A subclass sets `table` or `folder`, which says where.

    Attributes:
        most: sequences of each split that are kept, evenly spaced; None: all.
    """

    most: int | None = None

    def rows(self) -> Iterator[Labelled]:
        """Yield every sequence.

        Raises:
            UserError: a file is not in the layout; the message names it.
        """
        raise missing(self, "rows")

    def collect(self, into: Collector) -> str:
        """Read the sequences; returns what to call them."""
        by_split: dict[str, list[Labelled]] = {}
        for row in self.rows():
            by_split.setdefault(row.split, []).append(row)
        for split, rows in by_split.items():
            kept = rows
            if self.most is not None and len(rows) > self.most:
                kept = [rows[i] for i in np.linspace(0, len(rows) - 1, self.most).astype(np.int64)]
                into.notes.append(f"{split or 'all'}: {len(kept):,} of {len(rows):,} sequences are read")
            for row in kept:
                try:
                    letters = np.frombuffer(row.letters.encode("ascii"), dtype=np.uint8)
                except UnicodeEncodeError as error:
                    raise UserError(
                        f"{row.where}: expected bases (got {row.letters[error.start]!r}); mend the file"
                    ) from None
                into.add(letters, row.name, row.where, row.label, row.split)
        return self.label

    @property
    def label(self) -> str:
        """What to call the data."""
        raise missing(self, "label")
