"""Items of work shared among as many threads as torch has."""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

# Each thread takes the next part when it is done with one: a thread whose core is busy otherwise takes fewer.
_PARTS_A_THREAD = 4
# `.inside` is set in a thread while it works on a part.
_thread = threading.local()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="dnamamba")


# The threads of a process do not exist in its forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share(count: int, work: Callable[[int, int], None]) -> None:
    """Call work(first, last) so that every item below `count` is in one call, and wait for all.

    Within such a call, another is made by its thread alone. What an item writes must not depend on the call
    that it is in.
    """
    threads = 1 if getattr(_thread, "inside", False) else min(torch.get_num_threads(), count)
    if threads == 1:
        work(0, count)
        return
    parts = min(count, threads * _PARTS_A_THREAD)
    borders = [count * part // parts for part in range(parts + 1)]
    following = itertools.count()

    def run() -> None:
        _thread.inside = True
        try:
            while (part := next(following)) < parts:
                work(borders[part], borders[part + 1])
        finally:
            _thread.inside = False

    others = [_pool(threads - 1).submit(run) for _ in range(threads - 1)]
    try:
        run()
    finally:
        for other in others:
            other.result()
