"""Writes one bigWig: run as a program of its own by `bigwig.py`, with the values on standard input.

libBigWig aborts the process on a full disk, and holds Python's lock while it compresses: in a process of its
own neither stops the one that has the GPU. A line of JSON announces what follows: first the records, then
for each interval its record, start, number of values and whether each is that of a run of bases, then null.
In bytes after the line are the lengths of the runs (uint32), if so, and the values (float32).
"""

import json
import os
import sys
from typing import Any

import numpy as np
import pyBigWig

MAGIC = b"\x26\xfc\x8f\x88"  # the last four bytes of every whole bigWig


def main(path: str) -> None:
    """Write the file at `path`; leave with an error if it is not whole in the end."""
    source = sys.stdin.buffer
    file = pyBigWig.open(path, "w")
    records = [(name, length) for name, length in json.loads(source.readline())]
    file.addHeader(records)
    covered = 0
    while True:
        line = source.readline()
        if not line:
            os.unlink(path)  # nobody else is left to do so where the parent was killed
            sys.exit("the values stopped in the middle")
        stretch: Any = json.loads(line)
        if stretch is None:
            break
        record, start, number, runs = stretch
        lengths = np.frombuffer(source.read(4 * number), dtype=np.uint32).astype(np.int64) if runs else None
        values = np.frombuffer(source.read(4 * number), dtype=np.float32)
        if lengths is None:
            file.addEntries(record, start, values=values, span=1, step=1)
            covered += number
        else:
            ends = start + np.cumsum(lengths)
            file.addEntries(
                [record] * number, (ends - lengths).tolist(), ends=ends.tolist(), values=values.tolist()
            )
            covered += int(lengths.sum())
    file.close()
    _check(path, covered)


def _check(path: str, covered: int) -> None:
    with open(path, "rb") as file:
        file.seek(-len(MAGIC), os.SEEK_END)
        whole = file.read() == MAGIC
    again = pyBigWig.open(path)
    if not whole or again.header()["nBasesCovered"] != covered:
        sys.exit("the file is not whole; is the disk full?")


if __name__ == "__main__":
    main(sys.argv[1])
