"""Files of one value per base: bigWig, or bedGraph, which needs no package and can be read by eye."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from dnamamba.inference.bigwig import BigWigWriter, bigwig
from dnamamba.optional import need

BEDGRAPH = (".bedgraph", ".bedGraph")
BIGWIG = (".bw", ".bigwig", ".bigWig")
SUFFIXES = (*BIGWIG, *BEDGRAPH)


class BedGraphWriter:
    """Takes values in the order of the records, and of the bases within each."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def add(self, record: str, start: int, values: NDArray[np.float32]) -> None:
        """Add a row for each run of equal values; where a value is not finite there is none.

        Args:
            record: its name.
            start: of the first base, 0-based.
            values: float32 [n].
        """
        edges = np.flatnonzero(np.diff(values, prepend=np.float32(np.nan)) != 0)
        for first, last in zip(edges.tolist(), [*edges[1:].tolist(), len(values)], strict=True):
            if np.isfinite(values[first]):
                self._file.write(f"{record}\t{start + first}\t{start + last}\t{values[first]:.6g}\n")


def check_track_file(path: Path) -> None:
    """Look for the package that a track's format needs.

    Raises:
        UserError: it is not installed.
    """
    if path.suffix in BIGWIG:
        need("pyBigWig", "tracks", path.name)


@contextmanager
def track_file(path: Path, lengths: Mapping[str, int], name: Path) -> Iterator[BigWigWriter | BedGraphWriter]:
    """Write a bigWig or a bedGraph.

    Args:
        path: the file, which is not whole before the end.
        lengths: bases of each record.
        name: what the file will be called, which says the format.

    Raises:
        UserError: as of `bigwig`.
        OSError: a bedGraph can't be written.
    """
    if name.suffix in BIGWIG:
        with bigwig(path, lengths, name) as writer:
            yield writer
        return
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield BedGraphWriter(file)
