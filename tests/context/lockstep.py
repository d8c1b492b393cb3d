"""Several ranks in one process: threads, of which one runs at a time."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Place:
    """Stands for `Ranks`: one rank of `in_lockstep`."""

    def __init__(self, rank: int, size: int, meeting: "_Meeting") -> None:
        self.rank, self.size, self._meeting = rank, size, meeting

    def gather(self, x: Tensor) -> Tensor:
        return torch.stack(self._meeting.meet(self.rank, x.detach().clone()))


class _Meeting:
    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=60)
        self.running = threading.Lock()
        self.brought: list[Any] = [None] * size

    def meet(self, rank: int, x: Tensor) -> list[Tensor]:
        self.brought[rank] = x
        self.running.release()
        self.barrier.wait()
        self.running.acquire()
        found = list(self.brought)
        self.running.release()
        self.barrier.wait()  # nobody brings the next before all have these
        self.running.acquire()
        return found


def in_lockstep(size: int, work: Callable[[Place], Any]) -> list[Any]:
    """What `work` gives on each of `size` ranks; if it fails on one, its error."""
    meeting = _Meeting(size)
    results: list[Any] = [None] * size
    failures: list[BaseException] = []

    def run(rank: int) -> None:
        with meeting.running:
            try:
                results[rank] = work(Place(rank, size, meeting))
            except threading.BrokenBarrierError:
                meeting.running.acquire()
            except BaseException as error:
                failures.append(error)
                meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results
