"""The batches that every labelled data set gives, and rows of several lengths in one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dnamamba.data.alphabet import Ids
from dnamamba.data.stateless import Int64s

Batch = dict[str, Tensor]
"""What a process reads at a time of a labelled data set; the first dimension counts samples.

tokens: uint8 [B, L].
lengths: int64 [B], real positions of each row; without this key, all L. Padding is on the side that the data
    module's `padding` says.
labels: int64 [B] of classes; float32 [B, C], 0 or 1, of labels; float32 [B, 1] of a regression.
index: int64 [B], the numbers of the samples (training) or of the examples (evaluation).
"""


def padded(rows: Sequence[Ids], pad_id: int, side: str) -> tuple[Ids, Int64s]:
    """Rows in one array, uint8 [B, longest], with their lengths, int64 [B].

    Args:
        rows: uint8, at least one base each.
        pad_id: what fills the shorter ones.
        side: `right` or `left`, where the filling goes.
    """
    lengths = np.array([row.size for row in rows], dtype=np.int64)
    tokens = np.full((len(rows), lengths.max()), pad_id, dtype=np.uint8)
    for filled, row in zip(tokens, rows, strict=True):
        if side == "left":
            filled[tokens.shape[1] - row.size :] = row
        else:
            filled[: row.size] = row
    return tokens, lengths
