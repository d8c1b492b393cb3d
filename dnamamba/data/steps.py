"""Which steps a DataLoader's worker prepares."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from torch.utils.data import get_worker_info


def worker_steps(start_step: int) -> Iterator[int]:
    """Yield the steps from `start_step` on that this process prepares, without end: every W-th, of W workers.

    The DataLoader takes turns between its workers, so that the stream is the same whatever their number.
    """
    worker = get_worker_info()
    first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
    return count(start_step + first, stride)
