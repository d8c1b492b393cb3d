"""Medians of calls, for the programs of this folder."""

import statistics
import time
from collections.abc import Callable

import torch


def median_by_events(call: Callable[[], None], repeats: int) -> float:
    """Return the median milliseconds of calls on a GPU, by CUDA events."""
    laps = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        laps.append(start.elapsed_time(end))
    return statistics.median(laps)


def median_of(call: Callable[[], None], device: str, repeats: int) -> tuple[float, float]:
    """Return the median milliseconds of a call, after one warm-up, and the peak GiB; 0 on a CPU."""
    call()
    on_gpu = device == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    laps = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        laps.append(1e3 * (time.perf_counter() - began))
    return statistics.median(laps), torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
