"""How the chunked scan cuts its work: what advances side by side, and how much time makes a chunk."""

from collections.abc import Iterator
from math import isqrt
from typing import NamedTuple

# One step of the recurrence is one torch operation on rows * channels * states elements. Below FILL_STEP the
# cost of calling it is what counts, and one core does the work: torch gives a second core nothing of 32768
# elements or less. Below SINGLE_PASS_FROM a second sweep over everything is cheaper than such steps.
FILL_STEP = 65536
SINGLE_PASS_FROM = 8192
# Elements of one [rows, chunk, N, E] buffer; the backward pass works in three of them, which should stay in
# the last-level cache.
FILL_CHUNK = 1 << 20
SHORTEST_CHUNK, LONGEST_CHUNK = 16, 64


class Plan(NamedTuple):
    """The cut of a scan.

    Attributes:
        sequences: how many sequences advance side by side; 1 when `segments` > 1.
        segments: how many segments of each sequence advance side by side; 1 is a single pass over time.
        chunk: steps whose states are in memory together; one state a chunk is kept for the backward pass.
    """

    sequences: int
    segments: int
    chunk: int


class Piece(NamedTuple):
    """A part of the batch that is swept in one go; the pieces of one sequence come in order of time."""

    sequences: slice
    steps: slice
    segments: int


def plan(batch: int, length: int, channels: int, states: int) -> Plan:
    """Choose the cut from the sizes alone, so that it is the same on every machine.

    Args:
        batch: sequences B.
        length: positions L.
        channels: E.
        states: N per channel.
    """
    step = channels * states
    side_by_side = max(1, FILL_STEP // step)
    if batch * step < SINGLE_PASS_FROM:
        sequences, segments = 1, min(side_by_side, isqrt(length))
    else:
        groups = -(-batch // side_by_side)
        sequences, segments = -(-batch // groups), 1
    chunk = FILL_CHUNK // (sequences * segments * step)
    return Plan(sequences, segments, min(max(chunk, SHORTEST_CHUNK), LONGEST_CHUNK, length // segments))


def pieces(cut: Plan, batch: int, length: int) -> Iterator[Piece]:
    """Yield pieces that cover the batch; what the segments leave over is a last piece of its own.

    Args:
        cut: from `plan`.
        batch: sequences B.
        length: positions L.
    """
    even = length - length % cut.segments
    for first in range(0, batch, cut.sequences):
        sequences = slice(first, min(first + cut.sequences, batch))
        yield Piece(sequences, slice(0, even), cut.segments)
        if even < length:
            yield Piece(sequences, slice(even, length), 1)
